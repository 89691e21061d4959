import { beforeEach, expect, it } from "vitest";
import { downloading, model } from "../test/fixtures";
import { applyList, applyModel, removeModel } from "./applyEvents";
import { useFinishedStore } from "./finishedStore";
import { useModelsStore } from "./modelsStore";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };
const put = (row: ReturnType<typeof model>) => useModelsStore.setState((state) => applyModel(state, row));
const finished = () => useFinishedStore.getState().ids;

beforeEach(() => {
  useModelsStore.setState({ ...EMPTY, load: { state: "loading" } });
  useModelsStore.setState({
    ...applyList(EMPTY, [downloading({ id: "a" }), downloading({ id: "b" }), model({ id: "c" })]),
    load: { state: "ready" },
  });
  useFinishedStore.getState().clear();
});

it("remembers what ended while the page was open, the latest first, until it is cleared", () => {
  expect(finished()).toEqual([]);
  put(model({ id: "a" }));
  put(downloading({ id: "b", status: "failed" }));
  put(model({ id: "c", loaded: true }));
  expect(finished()).toEqual(["b", "a"]);
  useFinishedStore.getState().clear();
  expect(finished()).toEqual([]);
});

it("lists what failed before the page was opened, until it is cleared, and anew when it fails anew", () => {
  const reload = (rows: ReturnType<typeof model>[]) => {
    useFinishedStore.setState({ ids: [] });
    useModelsStore.setState({ ...EMPTY, load: { state: "loading" } });
    useModelsStore.setState({ ...applyList(EMPTY, rows), load: { state: "ready" } });
  };
  const failed = [downloading({ id: "b", status: "failed" }), model({ id: "c" })];
  reload(failed);
  expect(finished()).toEqual(["b"]);
  useFinishedStore.getState().clear();
  reload(failed);
  expect(finished()).toEqual([]);
  put(downloading({ id: "b" }));
  put(downloading({ id: "b", status: "failed" }));
  expect(finished()).toEqual(["b"]);
  reload(failed);
  expect(finished()).toEqual(["b"]);
});

it("lets go of what is started again or deleted", () => {
  put(model({ id: "a" }));
  put(downloading({ id: "b", status: "failed" }));
  put(downloading({ id: "b" }));
  expect(finished()).toEqual(["a"]);
  useModelsStore.setState((state) => removeModel(state, "a"));
  expect(finished()).toEqual([]);
});
