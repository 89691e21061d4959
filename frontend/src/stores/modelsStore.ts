import { create } from "zustand";
import * as api from "../api/models";
import type { Transport } from "../api/socket";
import { toastProblem } from "../lib/toast";
import type { ServerEvent } from "../types/events";
import type {
  DeletionReport,
  Dtype,
  ImportRequest,
  Labels,
  Model,
  ModelDownloadRequest,
  QuantizeRequest,
} from "../types/model";
import {
  applyLabels,
  applyList,
  applyModel,
  applyProgress,
  follows,
  isStructural,
  removeModel,
  revertLabels,
  without,
} from "./applyEvents";
import { createListSync, type Load } from "./listSync";
import type { Cursor, Feed, PendingOp } from "../types/feed";

export type Connection = "connecting" | "live" | "stale";

export interface ModelsState extends Feed, Cursor {
  conn: Connection;
  /** When the server was last heard, in milliseconds since the epoch. */
  lastAt: number;
  load: Load;

  /** Opens the event feed; the returned function closes it. */
  connect: (transport: Transport) => () => void;
  /** Tries to reach the server now, where the feed waits before it does. */
  reconnect: () => void;
  fetchModels: () => Promise<void>;
  downloadModel: (body: ModelDownloadRequest) => Promise<Model>;
  adoptModel: (modelId: string) => Promise<Model>;
  importFolder: (body: ImportRequest) => Promise<Model>;
  /** Rejects with the server's refusal. */
  perform: (id: string, op: api.ModelAction, dtype?: Dtype) => Promise<void>;
  /** The same; a refusal is shown in passing. */
  act: (id: string, op: api.ModelAction, dtype?: Dtype) => Promise<void>;
  quantizeModel: (id: string, body: QuantizeRequest) => Promise<Model>;
  /** Failures are shown in a toast. */
  mergeAdapter: (id: string) => Promise<void>;
  /** Asks the model's Hub for a newer version; rejects with why it could not be asked. */
  checkUpdate: (id: string) => Promise<Model>;
  /** Rejects with the server's refusal. */
  changeVersion: (id: string, change: api.VersionChange) => Promise<Model>;
  /** Shown at once on all models of the repository; rejects with why it was taken back. */
  changeLabels: (id: string, change: Partial<Labels>) => Promise<void>;
  deleteModel: (id: string, confirmShared: boolean, what?: api.Removal) => Promise<DeletionReport>;
  /** Shown as being deleted, though the server is not told yet; the returned function takes it back. */
  announceDeletion: (ids: string[]) => () => void;
  getReadyModels: () => Model[];
}

const FLUSH_MS = 200;
/** An accepted action whose effect no event reported is looked up after this long. */
const PENDING_CHECK_MS = 10_000;

const OP_TITLE: Record<PendingOp, string> = {
  pause: "Could not pause",
  resume: "Could not resume",
  cancel: "Could not cancel",
  load: "Could not load",
  unload: "Could not unload",
  verify: "Could not start the verification",
  delete: "Could not delete",
};

export function createModelsStore() {
  return create<ModelsState>()((set, get) => {
    let cursor: Cursor = { epoch: "", seq: 0 };
    const buffer = new Map<string, Model>();
    let flushTimer: ReturnType<typeof setTimeout> | undefined;
    let held: Model[] = [];
    let feed: Transport | null = null;
    const labelling = new Map<string, Promise<unknown>>();

    function flush(): void {
      clearTimeout(flushTimer);
      flushTimer = undefined;
      const waiting = [...buffer.values()].filter((model) => get().byId[model.id] !== undefined);
      buffer.clear();
      if (waiting.length > 0) set((state) => ({ ...applyProgress(state, waiting), ...cursor, lastAt: Date.now() }));
    }

    function receiveModel(model: Model): void {
      const known = get().byId[model.id];
      if (!isStructural(known, model)) {
        buffer.set(model.id, model);
        flushTimer ??= setTimeout(flush, FLUSH_MS);
        return;
      }
      buffer.delete(model.id);
      set((state) => ({ ...applyModel(state, model), ...cursor, lastAt: Date.now() }));
    }

    function receive(event: ServerEvent): void {
      if (event.type === "snapshot") {
        cursor = { epoch: event.epoch, seq: event.seq };
        set({ ...cursor, conn: "live", lastAt: Date.now() });
        void sync();
        return;
      }
      const order = follows(cursor, event);
      if (order === "old") return;
      cursor = { epoch: event.epoch, seq: event.seq };
      let missing = order === "gap";
      if (event.type === "batch") {
        event.deleted.forEach(receiveDeletion);
        event.models.forEach((model) => receiveOrHold(model, missing));
      } else if (event.type === "model.deleted") {
        receiveDeletion(event.id);
      } else if ("model" in event) {
        // A row is announced by `model.updated`; any other first word of it means that one was missed.
        missing ||= get().byId[event.model.id] === undefined && event.type !== "model.updated";
        receiveOrHold(event.model, missing);
      }
      if (missing) void sync();
    }

    function receiveDeletion(id: string): void {
      // Deleting twice is harmless, so this need not wait for a running sync; the list is read again after it.
      set((state) => ({ ...removeModel(state, id), ...cursor, lastAt: Date.now() }));
      held = held.filter((other) => other.id !== id);
      if (isSyncing()) void sync();
    }

    function receiveOrHold(model: Model, missing: boolean): void {
      if (missing || isSyncing()) held.push(model);
      else receiveModel(model);
    }

    const { sync, isRunning: isSyncing } = createListSync({
      load: () => get().load,
      setLoad: (load) => set({ load }),
      read: async () => {
        const models = await api.listModels((part) => {
          // Of a list that is shown already, half would be less than what is there.
          if (get().load.state !== "ready") set((state) => applyList(state, part));
        });
        buffer.clear();
        set((state) => ({ ...applyList(state, models), load: { state: "ready" }, lastAt: Date.now() }));
      },
      applyHeld: () => {
        const models = held;
        held = [];
        models.forEach(receiveModel);
      },
    });

    function begin(id: string, op: PendingOp): Model | null {
      const model = get().byId[id];
      if (model === undefined || get().pending[id] !== undefined) return null;
      set((state) => ({ pending: { ...state.pending, [id]: { op, prev: model.status } } }));
      return model;
    }

    function end(id: string): void {
      set((state) => ({ pending: without(state.pending, id) }));
    }

    /** Looks up what no event reported. A large model loads for minutes, so that one is looked up again and again. */
    function watch(id: string, op: PendingOp): void {
      setTimeout(() => {
        if (get().pending[id]?.op !== op) return;
        void sync().then(() => {
          if (op !== "load" && op !== "unload") end(id);
          else if (get().pending[id]?.op === op) watch(id, op);
        });
      }, PENDING_CHECK_MS);
    }

    async function changeLabels(id: string, change: Partial<Labels>): Promise<void> {
      const { byId } = get();
      const row = byId[id];
      if (row === undefined) return;
      const before = Object.values(byId).filter((other) => other.model_id === row.model_id);
      set((state) => applyLabels(state, row.model_id, change));
      try {
        const { tags, note, favourite, pinned_commit } = await api.changeLabels(id, change);
        set((state) => applyLabels(state, row.model_id, { tags, note, favourite, pinned_commit }));
      } catch (error) {
        set((state) => revertLabels(state, change, before));
        throw error;
      }
    }

    return {
      byId: {},
      ids: [],
      live: {},
      pending: {},
      epoch: "",
      seq: 0,
      conn: "connecting",
      lastAt: 0,
      load: { state: "idle" },

      connect: (transport) => {
        set({ conn: "connecting" });
        feed = transport;
        transport.connect({
          onOpen: () => undefined,
          onEvent: receive,
          onClose: () => {
            set((state) => ({ conn: "stale", lastAt: state.conn === "live" ? Date.now() : state.lastAt }));
            // The list may answer, or say why it cannot, when the feed does not.
            if (get().load.state !== "ready") void sync();
          },
        });
        return () => {
          clearTimeout(flushTimer);
          transport.close();
        };
      },

      reconnect: () => feed?.retry(),

      fetchModels: sync,

      downloadModel: async (body) => {
        const model = await api.downloadModel(body);
        set((state) => applyModel(state, model));
        return model;
      },

      adoptModel: async (modelId) => {
        const model = await api.adoptModel(modelId);
        set((state) => applyModel(state, model));
        return model;
      },

      importFolder: async (body) => {
        const model = await api.importFolder(body);
        set((state) => applyModel(state, model));
        return model;
      },

      perform: async (id, op, dtype) => {
        const before = begin(id, op);
        if (before === null) return;
        try {
          const model = await api.actOnModel(id, op, dtype);
          set((state) => applyModel(state, model));
          if (op === "verify" || model.status !== before.status) end(id);
          else watch(id, op);
        } catch (error) {
          end(id);
          throw error;
        }
      },

      act: async (id, op, dtype) => {
        try {
          await get().perform(id, op, dtype);
        } catch (error) {
          toastProblem(`${OP_TITLE[op]} ${get().byId[id]?.name ?? "the model"}`, error);
        }
      },

      checkUpdate: async (id) => {
        const model = await api.checkUpdate(id);
        set((state) => applyModel(state, model));
        return model;
      },

      changeVersion: async (id, change) => {
        const model = await api.changeVersion(id, change);
        set((state) => applyModel(state, model));
        return model;
      },

      quantizeModel: async (id, body) => {
        const model = await api.quantizeModel(id, body);
        set((state) => applyModel(state, model));
        return model;
      },

      mergeAdapter: async (id) => {
        try {
          const model = await api.mergeAdapter(id);
          set((state) => applyModel(state, model));
        } catch (error) {
          toastProblem(`Could not merge ${get().byId[id]?.name ?? "the adapter"}`, error);
        }
      },

      changeLabels: (id, change) => {
        // One after the other, so that a refused one has the answer to the one before to go back to.
        const repository = get().byId[id]?.model_id ?? id;
        const changed = (labelling.get(repository) ?? Promise.resolve()).then(() => changeLabels(id, change));
        labelling.set(
          repository,
          changed.catch(() => undefined),
        );
        return changed;
      },

      deleteModel: async (id, confirmShared, what = "model") => {
        if (get().pending[id]?.op !== "delete") begin(id, "delete");
        try {
          const report = await api.removeModel(id, what, confirmShared);
          if (what === "original") end(id);
          else set((state) => removeModel(state, id));
          return report;
        } catch (error) {
          end(id);
          throw error;
        }
      },

      announceDeletion: (ids) => {
        const announced = ids.filter((id) => begin(id, "delete") !== null);
        return () => announced.forEach(end);
      },

      getReadyModels: () =>
        get()
          .ids.map((id) => get().byId[id])
          .filter((model): model is Model => model?.status === "ready"),
    };
  });
}

export const useModelsStore = createModelsStore();
