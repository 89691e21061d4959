import { expect, it } from "vitest";
import { model } from "../test/fixtures";
import type { Model } from "../types/model";
import { countFilters, countGroups, filterGroups, readFilter, tagsOf } from "./filter";
import { groupModels } from "./groups";

const models = [
  model({ id: "a", model_id: "Qwen/Qwen3-0.6B", created_at: "2026-01-01T00:00:00.000Z" }),
  model({
    id: "b",
    model_id: "gpt2",
    architecture: "GPT2LMHeadModel",
    status: "failed",
    created_at: "2026-01-03T00:00:00.000Z",
  }),
  model({
    id: "c",
    model_id: "Qwen/Qwen3-14B",
    quantization: "4bit",
    memory_estimated_bytes: null,
    created_at: "2026-01-02T00:00:00.000Z",
  }),
];
const find = (rows: Model[], query: string) =>
  filterGroups(groupModels(rows), readFilter(new URLSearchParams(query))).map(({ head }) => head.id);
const ids = (query: string) => find(models, query);

it("reads the address and ignores what it does not know", () => {
  expect(readFilter(new URLSearchParams("status=nope&sort=zzz&quantization=2bit"))).toEqual({
    q: "",
    status: null,
    quantization: null,
    tag: null,
    favourite: false,
    sort: "newest",
    reversed: false,
  });
});

it("finds those with a newer version, whatever else they are", () => {
  const outdated = [
    ...models,
    model({ id: "d", model_id: "lab/d", update_available: true }),
    model({ id: "e", model_id: "lab/e", update_available: false }),
  ];
  expect(find(outdated, "status=outdated")).toEqual(["d"]);
  expect(countGroups(groupModels(outdated))).toEqual({ ready: 4, active: 0, attention: 1, outdated: 1 });
});

it("filters by words, status and precision, and sorts", () => {
  expect(ids("")).toEqual(["b", "c", "a"]);
  expect(ids("q=qwen 14")).toEqual(["c"]);
  expect(ids("q=GPT2LM")).toEqual(["b"]);
  expect(ids("status=attention")).toEqual(["b"]);
  expect(ids("quantization=4bit")).toEqual(["c"]);
  expect(ids("sort=name")).toEqual(["b", "a", "c"]);
  expect(ids("sort=name&reversed=true")).toEqual(["c", "a", "b"]);
  expect(ids("sort=memory").at(-1)).toBe("c");
});

it("filters by tag and favourite, and finds tags by their words", () => {
  const labelled = [
    model({ id: "a", model_id: "lab/one", tags: ["baseline", "small"], favourite: true }),
    model({ id: "b", model_id: "lab/two", tags: ["Small"] }),
    model({ id: "c", model_id: "lab/three" }),
  ];

  expect(find(labelled, "tag=small")).toEqual(["a"]);
  expect(find(labelled, "favourite=true")).toEqual(["a"]);
  expect(find(labelled, "favourite=yes")).toHaveLength(3);
  expect(find(labelled, "q=small")).toEqual(["a", "b"]);
  expect(tagsOf(labelled)).toEqual(["baseline", "small", "Small"]);
  expect(countFilters(readFilter(new URLSearchParams("tag=small&favourite=true&q=x")))).toBe(2);
});

it("sorts by state, precisions and tags; the untagged come last", () => {
  const rows = [
    model({ id: "plain", model_id: "a/plain" }),
    model({ id: "loaded", model_id: "a/loaded", loaded: true, tags: ["small"] }),
    model({ id: "two", model_id: "a/two", tags: ["baseline"] }),
    model({ id: "two4", model_id: "a/two", quantization: "4bit", tags: ["baseline"] }),
    model({ id: "failed", model_id: "a/failed", status: "failed" }),
  ];
  expect(find(rows, "sort=state").slice(0, 2)).toEqual(["failed", "loaded"]);
  expect(find(rows, "sort=state&reversed=true").at(-1)).toBe("failed");
  expect(find(rows, "sort=precisions")[0]).toBe("two");
  expect(find(rows, "sort=tags").slice(0, 2)).toEqual(["two", "loaded"]);
});
