/** The table of models: what stands in its columns besides the name. */
import type { Sort } from "./filter";

export const COLUMNS = ["parameters", "precisions", "memory", "disk", "state", "used", "tags"] as const;
export type Column = (typeof COLUMNS)[number];

export const COLUMN_LABEL: Record<Column, string> = {
  parameters: "Parameters",
  precisions: "Precisions",
  memory: "Memory",
  disk: "Disk",
  state: "State",
  used: "Used by",
  tags: "Tags",
};

export const DEFAULT_COLUMNS: Column[] = COLUMNS.filter((column) => column !== "used");

/** Those that a phone has room for. */
export const NARROW_COLUMNS: readonly Column[] = ["memory", "state"];

/** How a column is sorted by; the others have no order. */
export const COLUMN_SORT: Partial<Record<Column, Sort>> = {
  parameters: "parameters",
  precisions: "precisions",
  memory: "memory",
  disk: "disk",
  state: "state",
  tags: "tags",
};

/** Those that begin with the first letter or state; the others begin with the largest figure. */
export const ASCENDING: ReadonlySet<Sort> = new Set(["name", "state", "tags"]);

/** From this many models on, a table shows more of them than cards do. */
export const TABLE_FROM = 13;
