import { create } from "zustand";
import * as api from "../api/trainings";
import { toastProblem } from "../lib/toast";
import type { ServerEvent } from "../types/events";
import type { Training, TrainingRequest } from "../types/training";
import { follows, without } from "./applyEvents";
import { createListSync, type Load } from "./listSync";
import type { Cursor } from "../types/feed";

export type TrainingOp = api.TrainingAction | "delete";

export interface TrainingsState {
  byId: Record<string, Training>;
  /** Actions that were asked for and not answered yet. */
  pending: Record<string, TrainingOp>;
  load: Load;

  /** Takes every event of the feed, in order; those about models only for their stamps. */
  receive: (event: ServerEvent) => void;
  fetchTrainings: () => Promise<void>;
  start: (body: TrainingRequest) => Promise<Training>;
  act: (training: Training, op: api.TrainingAction) => Promise<void>;
  /** Shown as being deleted, though the server is not told yet; the returned function takes it back. */
  announceDeletion: (id: string) => () => void;
  /** Bytes freed. */
  remove: (id: string) => Promise<number>;
}

const OP_TITLE = { cancel: "Could not cancel the run", resume: "Could not resume the run" } as const;

export function createTrainingsStore() {
  return create<TrainingsState>()((set, get) => {
    let cursor: Cursor = { epoch: "", seq: 0 };
    /** What came while the list was read, which may be older. */
    let held: ServerEvent[] = [];

    /** Answers and events overtake each other; the newer one stays. */
    function put(training: Training): void {
      const known = get().byId[training.id];
      if (known !== undefined && known.updated_at > training.updated_at) return;
      set((state) => ({ byId: { ...state.byId, [training.id]: training } }));
    }

    function drop(id: string): void {
      set((state) => ({ byId: without(state.byId, id), pending: without(state.pending, id) }));
    }

    function receive(event: ServerEvent): void {
      if (event.type === "snapshot") {
        cursor = { epoch: event.epoch, seq: event.seq };
        event.trainings.forEach(put);
        if (get().load.state !== "idle") void sync();
        return;
      }
      const order = follows(cursor, event);
      if (order === "old") return;
      cursor = { epoch: event.epoch, seq: event.seq };
      apply(event);
      if (isSyncing()) held.push(event);
      if (order === "gap" && get().load.state !== "idle") void sync();
    }

    function apply(event: ServerEvent): void {
      if (event.type === "batch") {
        event.deleted.filter((id) => id in get().byId).forEach(drop);
        event.trainings.forEach(put);
      } else if (event.type === "training.deleted") drop(event.id);
      else if ("training" in event) put(event.training);
    }

    const { sync, isRunning: isSyncing } = createListSync({
      load: () => get().load,
      setLoad: (load) => set({ load }),
      read: async () => {
        const trainings = await api.listTrainings();
        set({ byId: Object.fromEntries(trainings.map((one) => [one.id, one])), load: { state: "ready" } });
      },
      applyHeld: () => {
        held.forEach(apply);
        held = [];
      },
    });

    async function during<T>(id: string, op: TrainingOp, action: () => Promise<T>): Promise<T> {
      set((state) => ({ pending: { ...state.pending, [id]: op } }));
      try {
        return await action();
      } finally {
        set((state) => ({ pending: without(state.pending, id) }));
      }
    }

    return {
      byId: {},
      pending: {},
      load: { state: "idle" },
      receive,
      fetchTrainings: sync,

      start: async (body) => {
        const training = await api.startTraining(body);
        put(training);
        return training;
      },

      act: async ({ id }, op) => {
        if (get().pending[id] !== undefined) return;
        try {
          put(await during(id, op, () => api.actOnTraining(id, op)));
        } catch (error) {
          toastProblem(OP_TITLE[op], error);
        }
      },

      announceDeletion: (id) => {
        set((state) => ({ pending: { ...state.pending, [id]: "delete" } }));
        return () => set((state) => ({ pending: without(state.pending, id) }));
      },

      remove: async (id) => {
        const { freed_bytes } = await during(id, "delete", () => api.deleteTraining(id));
        drop(id);
        return freed_bytes;
      },
    };
  });
}

export const useTrainingsStore = createTrainingsStore();
