import { waitFor } from "@testing-library/react";
import { beforeEach, expect, it } from "vitest";
import { overheard, type Transport } from "../api/socket";
import { FakeSocket } from "../test/fakeSocket";
import { problem } from "../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../test/handlers";
import { training, trainingPage } from "../test/trainingFixtures";
import type { TrainingEvent } from "../types/events";
import type { Training } from "../types/training";
import { createTrainingsStore } from "./trainingsStore";

let store: ReturnType<typeof createTrainingsStore>;
let socket: FakeSocket;
let listed: Training[];
let reads: number;

beforeEach(() => {
  store = createTrainingsStore();
  socket = new FakeSocket();
  listed = [training()];
  reads = 0;
  const feed: Transport = overheard(socket, store.getState().receive);
  feed.connect({ onEvent: () => undefined, onOpen: () => undefined, onClose: () => undefined });
  server.use(
    http.get(api("/trainings"), () => {
      reads += 1;
      return HttpResponse.json(trainingPage(listed));
    }),
  );
});

function tell(type: TrainingEvent["type"], changed: Partial<Training>, skip = 0) {
  socket.seq += 1 + skip;
  socket.send({ type, epoch: socket.epoch, seq: socket.seq, training: training(changed) });
}

it("follows runs without having read the list", () => {
  socket.snapshot();
  tell("training.progress", { updated_at: "2026-11-24T10:02:00.000Z" });
  expect(store.getState().byId.t1?.updated_at).toBe("2026-11-24T10:02:00.000Z");
  expect(reads).toBe(0);
});

it("reads the list again after a gap and in another life of the server", async () => {
  socket.snapshot();
  await store.getState().fetchTrainings();
  listed = [training(), training({ id: "t2" })];
  tell("training.progress", {}, 3);
  await waitFor(() => expect(store.getState().byId.t2).toBeDefined());
  listed = [training({ id: "t3" })];
  socket.epoch = "e2";
  socket.seq = 0;
  socket.snapshot();
  await waitFor(() => expect(Object.keys(store.getState().byId)).toEqual(["t3"]));
});

it("keeps what came while the list was read, and the newer of two", async () => {
  socket.snapshot();
  const reading = store.getState().fetchTrainings();
  tell("training.updated", { status: "completed", updated_at: "2026-11-24T10:09:00.000Z" });
  await reading;
  expect(store.getState().byId.t1?.status).toBe("completed");
  tell("training.progress", { updated_at: "2026-11-24T10:05:00.000Z" });
  expect(store.getState().byId.t1?.status).toBe("completed");
});

it("forgets deleted runs, and counts the stamps of events about models", async () => {
  socket.snapshot();
  await store.getState().fetchTrainings();
  socket.deleted("m1");
  socket.seq += 1;
  socket.send({ type: "training.deleted", epoch: socket.epoch, seq: socket.seq, id: "t1" });
  expect(store.getState().byId).toEqual({});
  expect(reads).toBe(1);
});

it("acts once at a time and shows what the server answers", async () => {
  await store.getState().fetchTrainings();
  let asked = 0;
  server.use(
    http.post(api("/trainings/t1/cancel"), () => {
      asked += 1;
      return HttpResponse.json(training({ status: "cancelling", updated_at: "2026-11-24T10:03:00.000Z" }), {
        status: 202,
      });
    }),
  );
  const first = store.getState().act(training(), "cancel");
  expect(store.getState().pending).toEqual({ t1: "cancel" });
  await Promise.all([first, store.getState().act(training(), "cancel")]);
  expect(asked).toBe(1);
  expect(store.getState().pending).toEqual({});
  expect(store.getState().byId.t1?.status).toBe("cancelling");
});

it("keeps a run whose deletion is refused", async () => {
  await store.getState().fetchTrainings();
  server.use(http.delete(api("/trainings/t1"), () => refuse(problem(409, "conflict", "It still runs."))));
  await expect(store.getState().remove("t1")).rejects.toThrow("It still runs.");
  expect(store.getState().byId.t1).toBeDefined();
  expect(store.getState().pending).toEqual({});
});

it("takes runs and deletions from batches", async () => {
  listed = [training(), training({ id: "t2" })];
  socket.snapshot();
  await store.getState().fetchTrainings();
  socket.batch({ trainings: [training({ updated_at: "2026-11-24T10:09:00.000Z" })], deleted: ["t2", "a-model"] }, 7);
  expect(Object.keys(store.getState().byId)).toEqual(["t1"]);
  expect(store.getState().byId.t1?.updated_at).toBe("2026-11-24T10:09:00.000Z");
  expect(reads).toBe(1);
});
