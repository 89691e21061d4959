import type { Model } from "./model";
import type { components } from "./openapi.gen";
import type { Training } from "./training";

type Schemas = components["schemas"];

export type SnapshotEvent = Schemas["SnapshotEvent"] & { trainings: Training[] };
export type BatchEvent = Omit<Schemas["BatchEvent"], "models" | "trainings"> & {
  models: Model[];
  trainings: Training[];
};
export type ModelEvent = Schemas["ModelEvent"] & { model: Model };
export type ModelDeletedEvent = Schemas["ModelDeletedEvent"];
export type TrainingEvent = Schemas["TrainingEvent"] & { training: Training };
export type TrainingDeletedEvent = Schemas["TrainingDeletedEvent"];

export type ServerEvent =
  SnapshotEvent | BatchEvent | ModelEvent | ModelDeletedEvent | TrainingEvent | TrainingDeletedEvent;
