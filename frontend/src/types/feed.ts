/** What the page keeps of the event feed. */
import type { Model, ModelStatus, Progress } from "./model";

/** The fast-moving part of a row that work is being done on. */
export interface Live {
  progress: Progress | null;
  downloaded_bytes: number;
  disk_bytes: number;
  /** As the row tells it; the server's clock. */
  updated_at: string;
  /** When the row last told anything new, in milliseconds since the epoch; the browser's clock. */
  heardAt: number;
}

export type PendingOp = "pause" | "resume" | "cancel" | "verify" | "load" | "unload" | "delete";

export interface Pending {
  op: PendingOp;
  prev: ModelStatus;
}

export interface Feed {
  /** Cold: changes when a row's status or facts change, never for progress. */
  byId: Record<string, Model>;
  ids: string[];
  /** Hot: only rows with work under way. */
  live: Record<string, Live>;
  pending: Record<string, Pending>;
}

export interface Cursor {
  epoch: string;
  seq: number;
}
