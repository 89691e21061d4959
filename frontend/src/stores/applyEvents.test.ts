import { expect, it, vi } from "vitest";
import { downloading, model, progress } from "../test/fixtures";
import { applyList, applyModel, applyProgress, follows, isStructural, isUnderWay, removeModel } from "./applyEvents";
import type { Feed } from "../types/feed";

const EMPTY: Feed = { byId: {}, ids: [], live: {}, pending: {} };

it("tells what follows, what is old and where something is missing", () => {
  const cursor = { epoch: "a", seq: 5 };
  expect(follows(cursor, { epoch: "a", seq: 6 })).toBe("next");
  expect(follows(cursor, { epoch: "a", seq: 5 })).toBe("old");
  expect(follows(cursor, { epoch: "a", seq: 8 })).toBe("gap");
  expect(follows(cursor, { epoch: "b", seq: 6 })).toBe("gap");
});

it("lists a row once that stood on two pages", () => {
  const feed = applyList(EMPTY, [
    model({ id: "m1", name: "old" }),
    model({ id: "m2" }),
    model({ id: "m1", name: "new" }),
  ]);
  expect(feed.ids).toEqual(["m1", "m2"]);
  expect(feed.byId.m1?.name).toBe("new");
});

it("keeps progress away from the cold record", () => {
  const feed = applyList(EMPTY, [downloading(), model({ id: "m2" })]);
  const next = applyProgress(feed, [
    downloading({ progress: progress({ bytes_done: 800_000_000 }), downloaded_bytes: 8 }),
  ]);
  expect(next.byId).toBe(feed.byId);
  expect(next.ids).toBe(feed.ids);
  expect(next.live.m1?.progress?.bytes_done).toBe(800_000_000);
});

it("lets go of what moved no more, and of what never did", () => {
  const feed = applyList(EMPTY, [downloading(), model({ id: "m2" })]);
  const seen = model({ id: "m2", updated_at: "later", disk_bytes: 5 });
  const next = applyProgress(feed, [seen, downloading({ status: "failed" })]);
  expect(next.live).toEqual({});
  expect(next.byId.m2).toBe(seen);
  expect(next.byId.m1?.status).toBe("failed");
});

it("tells when a row told anything new, not when the same was read again", () => {
  vi.useFakeTimers({ now: 1000 });
  const feed = applyList(EMPTY, [downloading()]);
  vi.setSystemTime(9000);
  expect(applyList(feed, [downloading()]).live.m1?.heardAt).toBe(1000);
  expect(applyProgress(feed, [downloading({ updated_at: "later" })]).live.m1?.heardAt).toBe(9000);
  vi.useRealTimers();
});

it("knows progress from facts", () => {
  const known = downloading();
  expect(
    isStructural(known, downloading({ progress: progress({ phase: "retrying" }), disk_bytes: 1, updated_at: "x" })),
  ).toBe(false);
  expect(isStructural(known, downloading({ status: "paused" }))).toBe(true);
  expect(isStructural(known, downloading({ architecture: "Other" }))).toBe(true);
  expect(isStructural(known, downloading({ used_by: [{ kind: "loaded", id: "x", name: "x" }] }))).toBe(true);
  expect(isStructural(undefined, known)).toBe(true);
});

it("drops live figures when a job ends, also when it fails with progress left", () => {
  const feed = applyList(EMPTY, [downloading()]);
  expect(applyModel(feed, model()).live).toEqual({});
  expect(applyModel(feed, downloading({ status: "failed" })).live).toEqual({});
});

it("ends an optimistic action when the status moves, and not before", () => {
  const feed = {
    ...applyList(EMPTY, [downloading()]),
    pending: { m1: { op: "pause" as const, prev: "downloading" as const } },
  };
  expect(applyModel(feed, downloading({ memory_estimated_bytes: 1 })).pending).toBe(feed.pending);
  expect(applyModel(feed, downloading({ status: "paused" })).pending).toEqual({});
});

it("ends loading and unloading by what the row tells, as its status stays", () => {
  const load = { op: "load" as const, prev: "ready" as const };
  const unload = { op: "unload" as const, prev: "ready" as const };
  const error = { code: "out_of_memory", message: "No.", hint: null };
  expect(isUnderWay(load, model())).toBe(true);
  expect(isUnderWay(load, model({ loaded: true }))).toBe(false);
  expect(isUnderWay(load, model({ error }))).toBe(false);
  expect(isUnderWay(unload, model({ loaded: true }))).toBe(true);
  expect(isUnderWay(unload, model())).toBe(false);
  expect(isUnderWay(load, undefined)).toBe(false);
});

it("removes a row from everywhere and puts a new one first", () => {
  const feed = applyList(EMPTY, [downloading()]);
  expect(removeModel(feed, "m1")).toEqual(EMPTY);
  expect(removeModel(feed, "nope")).toBe(feed);
  expect(applyModel(feed, model({ id: "m0" })).ids).toEqual(["m0", "m1"]);
});

it("leaves a load to its own progress once the server has taken it, and stopping one to the server's answer", () => {
  const loading = model({ progress: progress({ phase: "loading", message: "reading weights" }) });
  expect(isUnderWay({ op: "load", prev: "ready" }, loading)).toBe(false);
  expect(isUnderWay({ op: "cancel", prev: "ready" }, loading)).toBe(false);
  expect(isUnderWay({ op: "cancel", prev: "downloading" }, downloading())).toBe(true);
  const feed = applyModel(applyList(EMPTY, [model()]), loading);
  expect(feed.live.m1?.progress?.message).toBe("reading weights");
  expect(applyModel(feed, model({ loaded: true })).live).toEqual({});
});
