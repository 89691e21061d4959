import { beforeEach, describe, expect, it, vi } from "vitest";
import * as toast from "../lib/toast";
import { FakeSocket } from "../test/fakeSocket";
import { downloading, model, problem, progress } from "../test/fixtures";
import { api, http, HttpResponse, page, refuse, server } from "../test/handlers";
import type { Model } from "../types/model";
import { createModelsStore } from "./modelsStore";

let rows: Model[];
let reads: number;

beforeEach(() => {
  rows = [downloading(), model({ id: "m2", model_id: "gpt2" })];
  reads = 0;
  server.use(
    http.get(api("/models"), () => {
      reads += 1;
      return HttpResponse.json(page(rows));
    }),
  );
});

async function connected() {
  const store = createModelsStore();
  const socket = new FakeSocket();
  store.getState().connect(socket);
  socket.snapshot([downloading()]);
  await vi.waitFor(() => expect(store.getState().load.state).toBe("ready"));
  return { store, socket };
}

describe("the feed", () => {
  it("reads the list once after the snapshot", async () => {
    const { store } = await connected();
    expect(store.getState().conn).toBe("live");
    expect(store.getState().ids).toEqual(["m1", "m2"]);
    expect(reads).toBe(1);
  });

  it("reads every page", async () => {
    const many = Array.from({ length: 1700 }, (_, index) => model({ id: `x${index}` }));
    server.use(
      http.get(api("/models"), ({ request }) => {
        const query = new URL(request.url).searchParams;
        const [offset, limit] = [Number(query.get("offset")), Number(query.get("limit"))];
        return HttpResponse.json({ items: many.slice(offset, offset + limit), total: many.length, limit, offset });
      }),
    );
    const { store } = await connected();
    expect(store.getState().ids).toEqual(many.map((each) => each.id));
  });

  it("shows the first rows while the others are read, and all of them while they are read again", async () => {
    const many = Array.from({ length: 150 }, (_, index) => model({ id: `x${index}` }));
    let release: () => void = () => undefined;
    server.use(
      http.get(api("/models"), async ({ request }) => {
        const query = new URL(request.url).searchParams;
        const [offset, limit] = [Number(query.get("offset")), Number(query.get("limit"))];
        if (offset > 0) await new Promise<void>((resolve) => (release = resolve));
        return HttpResponse.json({ items: many.slice(offset, offset + limit), total: many.length, limit, offset });
      }),
    );
    const store = createModelsStore();
    const reading = store.getState().fetchModels();
    await vi.waitFor(() => expect(store.getState().ids).toHaveLength(100));
    expect(store.getState().load.state).toBe("loading");
    await vi.waitFor(() => {
      release();
      expect(store.getState().load.state).toBe("ready");
    });
    await reading;
    expect(store.getState().ids).toHaveLength(150);

    const counts = new Set<number>();
    store.subscribe(({ ids }) => counts.add(ids.length));
    const again = store.getState().fetchModels();
    await vi.waitFor(() => {
      release();
      expect(counts.size).toBeGreaterThan(0);
    });
    await again;
    expect([...counts]).toEqual([150]);
  });

  it("gathers progress and applies it together, leaving the cold records alone", async () => {
    const { store, socket } = await connected();
    const { byId } = store.getState();
    const seen = vi.fn();
    store.subscribe(seen);
    for (const bytes_done of [5e8, 6e8, 7e8]) {
      socket.model("model.download.progress", downloading({ progress: progress({ bytes_done }) }));
    }
    expect(seen).not.toHaveBeenCalled();
    await vi.waitFor(() => expect(store.getState().live.m1?.progress?.bytes_done).toBe(7e8));
    expect(seen).toHaveBeenCalledTimes(1);
    expect(store.getState().byId).toBe(byId);
  });

  it("makes no work of a ready row that is told again, as after the server began anew", async () => {
    const { store, socket } = await connected();
    socket.model("model.updated", model({ id: "m2", model_id: "gpt2", updated_at: "later", disk_bytes: 7 }));
    await vi.waitFor(() => expect(store.getState().byId.m2?.disk_bytes).toBe(7));
    expect(Object.keys(store.getState().live)).toEqual(["m1"]);
  });

  it("shows a change of status at once, and no older progress after it", async () => {
    const { store, socket } = await connected();
    socket.model("model.download.progress", downloading({ progress: progress({ bytes_done: 9e8 }) }));
    socket.model("model.download.completed", model());
    expect(store.getState().byId.m1?.status).toBe("ready");
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(store.getState().live).toEqual({});
  });

  it("reads again after a gap, with what came meanwhile applied on top", async () => {
    const { store, socket } = await connected();
    rows = [downloading(), model({ id: "m2", model_id: "gpt2" }), model({ id: "m3", model_id: "missed/one" })];
    socket.seq += 4;
    socket.model("model.download.completed", model());
    await vi.waitFor(() => expect(store.getState().ids).toEqual(["m1", "m2", "m3"]));
    expect(reads).toBe(2);
    expect(store.getState().byId.m1?.status).toBe("ready");
  });

  it("reads again when the server began a new life", async () => {
    const { store, socket } = await connected();
    rows = [];
    socket.epoch = "e2";
    socket.seq = 0;
    socket.deleted("m1");
    await vi.waitFor(() => expect(store.getState().ids).toEqual([]));
    expect(reads).toBe(2);
    expect(store.getState().epoch).toBe("e2");
  });

  it("reads again for a row it never heard of", async () => {
    const { store, socket } = await connected();
    rows = [...rows, downloading({ id: "m9" })];
    socket.model("model.download.progress", downloading({ id: "m9" }));
    await vi.waitFor(() => expect(store.getState().ids).toContain("m9"));
    expect(reads).toBe(2);
  });

  it("ignores what it has seen", async () => {
    const { store, socket } = await connected();
    socket.model("model.updated", downloading({ status: "paused" }));
    socket.seq = 0;
    socket.model("model.updated", downloading());
    expect(store.getState().byId.m1?.status).toBe("paused");
  });

  it("does not bring back a row that was deleted during a read", async () => {
    const { store, socket } = await connected();
    void store.getState().fetchModels();
    socket.model("model.updated", downloading({ status: "paused" }));
    rows = rows.filter(({ id }) => id !== "m1");
    socket.deleted("m1");
    await vi.waitFor(() => expect(store.getState().ids).toEqual(["m2"]));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(store.getState().ids).toEqual(["m2"]);
  });

  it("is stale when the socket closes, keeps what it knows, and catches up with the next snapshot", async () => {
    const { store, socket } = await connected();
    socket.drop();
    expect(store.getState().conn).toBe("stale");
    expect(store.getState().ids).toEqual(["m1", "m2"]);
    store.getState().reconnect();
    expect(socket.retries).toBe(1);
    rows = [model({ id: "m2", model_id: "gpt2" })];
    socket.snapshot();
    await vi.waitFor(() => expect(store.getState().ids).toEqual(["m2"]));
    expect(store.getState().conn).toBe("live");
  });

  it("reads without a socket, and says why it cannot", async () => {
    server.use(http.get(api("/models"), () => refuse(problem(500, "internal_error", "The database is locked."))));
    const store = createModelsStore();
    const socket = new FakeSocket();
    store.getState().connect(socket);
    socket.drop();
    await vi.waitFor(() => expect(store.getState().load.state).toBe("error"));
    expect(store.getState().load.error?.message).toBe("The database is locked.");
  });
});

describe("actions", () => {
  it("are shown before the server answers, and locked until it did", async () => {
    const { store, socket } = await connected();
    let asked = 0;
    server.use(
      http.post(api("/models/m1/pause"), () => {
        asked += 1;
        return HttpResponse.json(downloading(), { status: 202 });
      }),
    );
    const acting = store.getState().act("m1", "pause");
    expect(store.getState().pending.m1).toEqual({ op: "pause", prev: "downloading" });
    await store.getState().act("m1", "pause");
    await acting;
    expect(asked).toBe(1);
    // Taken, but the worker has not stopped yet.
    expect(store.getState().pending.m1?.op).toBe("pause");
    socket.model("model.updated", downloading({ status: "paused" }));
    expect(store.getState().pending).toEqual({});
  });

  it("load is under way until the row says that it is in memory", async () => {
    const { store, socket } = await connected();
    server.use(http.post(api("/models/m2/load"), () => HttpResponse.json(rows[1], { status: 202 })));
    await store.getState().act("m2", "load");
    expect(store.getState().pending.m2?.op).toBe("load");
    socket.model("model.loaded", model({ id: "m2", model_id: "gpt2", loaded: true }));
    expect(store.getState().pending).toEqual({});
    expect(store.getState().byId.m2?.loaded).toBe(true);
  });

  it("quantize adds the copy's row", async () => {
    const { store } = await connected();
    server.use(
      http.post(api("/models/m2/quantize"), async ({ request }) => {
        expect(await request.json()).toEqual({ quantization: "4bit", keep_original: true });
        return HttpResponse.json(model({ id: "m4", status: "quantizing", quantization: "4bit" }), { status: 202 });
      }),
    );
    await store.getState().quantizeModel("m2", { quantization: "4bit", keep_original: true });
    expect(store.getState().byId.m4?.status).toBe("quantizing");
  });

  it("show a merged adapter, and say why there is none", async () => {
    const { store } = await connected();
    const said = vi.spyOn(toast, "toastProblem").mockImplementation(() => undefined);
    server.use(
      http.post(api("/models/m2/merge"), () =>
        HttpResponse.json(model({ id: "m4", status: "pending" }), { status: 202 }),
      ),
      http.post(api("/models/m1/merge"), () => refuse(problem(409, "base_missing", "Its base is not here."))),
    );
    await store.getState().mergeAdapter("m2");
    expect(store.getState().byId.m4?.status).toBe("pending");
    await store.getState().mergeAdapter("m1");
    expect(said).toHaveBeenCalledWith("Could not merge Qwen3-0.6B", expect.objectContaining({ code: "base_missing" }));
  });

  it("roll back and say what the server said", async () => {
    const { store } = await connected();
    const said = vi.spyOn(toast, "toastProblem").mockImplementation(() => undefined);
    server.use(http.post(api("/models/m1/pause"), () => refuse(problem(409, "conflict", "It has just finished."))));
    await store.getState().act("m1", "pause");
    expect(store.getState().pending).toEqual({});
    expect(store.getState().byId.m1?.status).toBe("downloading");
    expect(said).toHaveBeenCalledWith("Could not pause Qwen3-0.6B", expect.objectContaining({ code: "conflict" }));
  });

  it("delete removes the row at once, and keeps it when refused", async () => {
    const { store } = await connected();
    server.use(http.delete(api("/models/m2"), () => refuse(problem(409, "model_in_use", "A training uses it."))));
    await expect(store.getState().deleteModel("m2", false)).rejects.toMatchObject({ code: "model_in_use" });
    expect(store.getState().ids).toContain("m2");
    expect(store.getState().pending).toEqual({});
    server.use(
      http.delete(api("/models/m2"), () =>
        HttpResponse.json({ freed_bytes: 1, kept_bytes: 0, kept_because: [], shared_cache: false, used_by: [] }),
      ),
    );
    await store.getState().deleteModel("m2", false);
    expect(store.getState().ids).toEqual(["m1"]);
  });

  it("download adds the row it is answered with", async () => {
    const { store } = await connected();
    server.use(
      http.post(api("/models/download"), () =>
        HttpResponse.json(downloading({ id: "m7", status: "pending", progress: null }), { status: 202 }),
      ),
    );
    await store.getState().downloadModel({
      model_id: "a/b",
      revision: null,
      quantization: "none",
      keep_original: true,
      allow_pickle: false,
      allow_unsupported: false,
      gguf_file: null,
      with_base: false,
    });
    expect(store.getState().ids[0]).toBe("m7");
    expect(
      store
        .getState()
        .getReadyModels()
        .map(({ id }) => id),
    ).toEqual(["m2"]);
  });
});

describe("batches", () => {
  it("are no gap, and bring new rows, changes and deletions without a request", async () => {
    const { store, socket } = await connected();
    socket.batch({ models: [model({ id: "m3" }), model({ id: "m1", status: "ready" })], deleted: ["m2"] }, 9);
    expect(store.getState().ids).toEqual(["m3", "m1"]);
    expect(store.getState().byId.m1?.status).toBe("ready");
    socket.batch({ models: [model({ id: "m3", status: "missing" })] });
    expect(store.getState().byId.m3?.status).toBe("missing");
    expect(reads).toBe(1);
  });

  it("lead to a new reading where one is missing, and are applied after it", async () => {
    const { store, socket } = await connected();
    rows = [model({ id: "m1" }), model({ id: "m2" })];
    socket.seq += 3;
    socket.batch({ models: [model({ id: "m2", status: "missing" })] });
    await vi.waitFor(() => expect(store.getState().byId.m2?.status).toBe("missing"));
    expect(store.getState().byId.m1?.status).toBe("ready");
    expect(reads).toBe(2);
  });

  it("that were seen already are left out", async () => {
    const { store, socket } = await connected();
    socket.batch({ models: [model({ id: "m3" })] }, 4);
    socket.seq -= 4;
    socket.batch({ deleted: ["m3"] }, 4);
    expect(store.getState().byId.m3).toBeDefined();
  });

  it("go on after a snapshot in between, which is what a slow client gets", async () => {
    const { store, socket } = await connected();
    rows = [model({ id: "m1" }), model({ id: "m4" })];
    socket.seq += 5000;
    socket.snapshot([]);
    await vi.waitFor(() => expect(store.getState().ids).toEqual(["m1", "m4"]));
    socket.batch({ deleted: ["m4"] });
    expect(store.getState().ids).toEqual(["m1"]);
    expect(reads).toBe(2);
  });
});

describe("labels", () => {
  const COPY = model({ id: "m3", model_id: "gpt2", quantization: "4bit" });

  it("belong to the repository: each of its rows shows a change at once", async () => {
    rows = [...rows, COPY];
    let release: () => void = () => undefined;
    server.use(
      http.patch(api("/models/m2"), async () => {
        await new Promise<void>((resolve) => (release = resolve));
        return HttpResponse.json(model({ id: "m2", model_id: "gpt2", tags: ["a", "b"] }));
      }),
    );
    const { store } = await connected();
    const changed = store.getState().changeLabels("m2", { tags: ["b", "a"] });
    await vi.waitFor(() => expect(store.getState().byId.m3?.tags).toEqual(["b", "a"]));
    expect(store.getState().byId.m1?.tags).toEqual([]);
    await vi.waitFor(() => {
      release();
      // As the server keeps them.
      expect(store.getState().byId.m3?.tags).toEqual(["a", "b"]);
    });
    await changed;
  });

  it("go back when they are refused, and nothing else does", async () => {
    rows = [...rows, COPY];
    let release: () => void = () => undefined;
    server.use(
      http.patch(api("/models/m2"), async () => {
        await new Promise<void>((resolve) => (release = resolve));
        return refuse(problem(503, "database_unavailable", "Away."));
      }),
    );
    const { store, socket } = await connected();
    const changed = store.getState().changeLabels("m2", { favourite: true, note: "x" });
    await vi.waitFor(() => expect(store.getState().byId.m3?.favourite).toBe(true));
    socket.model("model.updated", { ...COPY, note: "of another page", loaded: true });
    release();
    await expect(changed).rejects.toThrow("Away.");
    expect(store.getState().byId.m2).toMatchObject({ favourite: false, note: "" });
    expect(store.getState().byId.m3).toMatchObject({ favourite: false, note: "of another page", loaded: true });
  });

  it("are changed one after the other, each with the one before to go back to", async () => {
    let answers = 0;
    server.use(
      http.patch(api("/models/m2"), () => {
        answers += 1;
        return answers === 1
          ? HttpResponse.json(model({ id: "m2", model_id: "gpt2", favourite: true }))
          : refuse(problem(503, "database_unavailable", "Away."));
      }),
    );
    const { store } = await connected();
    const [first, second] = [true, false].map((favourite) => store.getState().changeLabels("m2", { favourite }));
    await first;
    await expect(second).rejects.toThrow("Away.");
    expect(store.getState().byId.m2?.favourite).toBe(true);
  });
});
