import { beforeEach, expect, it } from "vitest";
import { loadedModel, problem, system } from "../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../test/handlers";
import { useModelsStore } from "./modelsStore";
import { useSystemStore } from "./systemStore";

const { refresh } = useSystemStore.getState();

beforeEach(() => {
  useSystemStore.setState({ system: null, loaded: null, error: null });
  useModelsStore.setState({ byId: {}, ids: [] });
});

it("asks what is loaded, whether or not the list of models was read", async () => {
  server.use(http.get(api("/models/loaded"), () => HttpResponse.json({ items: [loadedModel()] })));
  await refresh();
  expect(useSystemStore.getState()).toMatchObject({ system: system(), loaded: [loadedModel()], error: null });
});

it("knows the machine where it is not told what is loaded", async () => {
  server.use(http.get(api("/models/loaded"), () => refuse(problem(500, "internal_error", "The database is locked."))));
  await refresh();
  expect(useSystemStore.getState()).toMatchObject({ system: system(), loaded: null, error: null });
});

it("keeps what it knew while the machine does not answer", async () => {
  await refresh();
  server.use(http.get(api("/system"), () => refuse(problem(500, "internal_error", "The disks could not be read."))));
  await refresh();
  const { system: known, loaded, error } = useSystemStore.getState();
  expect(known).toEqual(system());
  expect(loaded).toEqual([]);
  expect(error?.message).toBe("The disks could not be read.");
});
