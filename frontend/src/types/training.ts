/** What goes over the wire about training runs; names for the generated schemas. */
import type { components } from "./openapi.gen";

type Schemas = components["schemas"];

export type TrainingPlan = Schemas["TrainingPlan"];
export type Training = Schemas["TrainingResponse"];
export type TrainingStatus = Training["status"];
export type TrainingPage = Schemas["TrainingPage"];
export type TrainingRequest = Required<Schemas["TrainingCreate"]> & { dataset: Required<Schemas["DatasetChoice"]> };
export type SaeArchitecture = TrainingRequest["architecture"];
export type TrainingCompatibility = Schemas["TrainingCompatibility"];
export type CurvePoint = Schemas["TrainingMetricPoint"];
export type TrainingLog = Schemas["TrainingLog"];
export type StoredDataset = Schemas["DatasetResponse"];
export type SentDataset = Schemas["StoredDataset"];
export type Dtype = Training["dtype"];
export type FreedBytes = Schemas["FreedBytes"];
