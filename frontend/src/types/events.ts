import type { Model } from "./model";
import type { components } from "./openapi.gen";

type Schemas = components["schemas"];

export type SnapshotEvent = Schemas["SnapshotEvent"];
export type ModelEvent = Schemas["ModelEvent"] & { model: Model };
export type ModelDeletedEvent = Schemas["ModelDeletedEvent"];

/** Events about trainings carry a stamp like every other; their body belongs to the training pages. */
export interface TrainingEvent {
  type: "training.progress" | "training.updated";
  epoch: string;
  seq: number;
}

export type ServerEvent = SnapshotEvent | ModelEvent | ModelDeletedEvent | TrainingEvent;
