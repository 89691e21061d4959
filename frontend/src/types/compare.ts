/** The types of a comparison as they go over the wire. */
import type { components } from "./openapi.gen";

type Schemas = components["schemas"];

export type Comparison = Schemas["CompareResponse"];
export type ComparedSide = Schemas["ComparedSide"];
export type ComparedToken = Schemas["ComparedToken"];
export type CompareRequest = Omit<Schemas["CompareRequest"], "stream">;
export type Side = "left" | "right";

/** What a comparison is doing; part of its stream. */
export interface CompareStep {
  side: Side;
  work: "write" | "score";
  waiting: boolean;
  phase: string | null;
  message: string | null;
  bytes_done: number;
  bytes_total: number | null;
}
