import type {
  CurvePoint,
  FreedBytes,
  SentDataset,
  StoredDataset,
  Training,
  TrainingCompatibility,
  TrainingLog,
  TrainingPage,
  TrainingPlan,
  TrainingRequest,
} from "../types/training";
import { request } from "./client";

const PAGE = 200;

/** Every run; asks for as many pages as there are. */
export async function listTrainings(signal?: AbortSignal): Promise<Training[]> {
  const trainings: Training[] = [];
  for (;;) {
    const query = { limit: PAGE, offset: trainings.length };
    const page = await request<TrainingPage>("GET", "/trainings", { query, signal });
    trainings.push(...page.items);
    if (page.items.length === 0 || trainings.length >= page.total) return trainings;
  }
}

export function startTraining(body: TrainingRequest): Promise<Training> {
  return request("POST", "/trainings", { body });
}

/** What the same request would take, and why it would be refused; nothing is started. */
export function planTraining(body: TrainingRequest, signal?: AbortSignal): Promise<TrainingPlan> {
  return request("POST", "/trainings/plan", { body, signal });
}

export type TrainingAction = "cancel" | "resume";

export function actOnTraining(id: string, action: TrainingAction): Promise<Training> {
  return request("POST", `/trainings/${id}/${action}`);
}

export function deleteTraining(id: string): Promise<FreedBytes> {
  return request("DELETE", `/trainings/${id}`);
}

/** The curve behind a step, oldest first. */
export function getCurve(id: string, afterStep: number, signal?: AbortSignal): Promise<{ items: CurvePoint[] }> {
  return request("GET", `/trainings/${id}/metrics`, { query: { after_step: afterStep }, signal });
}

/** What the run's process wrote behind a position. */
export function getLog(id: string, after: number, signal?: AbortSignal): Promise<TrainingLog> {
  return request("GET", `/trainings/${id}/log`, { query: { after }, signal });
}

/** May take seconds: the model is looked into once per commit. */
export function getCompatibility(modelId: string, signal?: AbortSignal): Promise<TrainingCompatibility> {
  return request("GET", `/models/${modelId}/training-compatibility`, { signal });
}

/** Stores a text file on the server's machine. */
export function uploadDataset(file: File): Promise<StoredDataset> {
  const body = new FormData();
  body.set("file", file);
  return request("POST", "/datasets", { body });
}

/** The files that were sent, the newest first. */
export async function listDatasets(signal?: AbortSignal): Promise<SentDataset[]> {
  return (await request<{ items: SentDataset[] }>("GET", "/datasets", { signal })).items;
}

export function deleteDataset(name: string): Promise<FreedBytes> {
  return request("DELETE", `/datasets/${encodeURIComponent(name)}`);
}
