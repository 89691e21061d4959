import { expect, it } from "vitest";
import { architecture } from "../test/fixtures";
import { ancestors, findRows, openRows, parentPath } from "./moduleTree";

const { tree } = architecture();

it("shows what is open and nothing below what is not", () => {
  expect(openRows(tree, new Set()).map((row) => row.path)).toEqual([""]);
  const rows = openRows(tree, new Set(ancestors("model.layers")));
  expect(rows.map((row) => [row.path, row.level, row.position, row.siblings])).toEqual([
    ["", 1, 1, 1],
    ["model", 2, 1, 1],
    ["model.embed_tokens", 3, 1, 3],
    ["model.layers", 3, 2, 3],
    ["model.norm", 3, 3, 3],
  ]);
});

it("finds by path and type, wherever it is, and counts what it leaves out", () => {
  expect(findRows(tree, "q_proj", 10).rows.map((row) => row.path)).toEqual([
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
  ]);
  expect(findRows(tree, "LINEAR layers.1", 10).rows).toHaveLength(2);
  expect(findRows(tree, "linear", 3)).toMatchObject({ more: 1, rows: { length: 3 } });
  expect(findRows(tree, "nothing", 10)).toEqual({ rows: [], more: 0 });
});

it("walks up to the model itself", () => {
  expect(parentPath("model.layers.0")).toBe("model.layers");
  expect(parentPath("model")).toBe("");
  expect(parentPath("")).toBeNull();
  expect(ancestors("model.layers")).toEqual(["", "model"]);
});
