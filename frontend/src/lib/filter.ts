import type { Model, ModelStatus, Quantization } from "../types/model";

export const SORTS = ["newest", "name", "parameters", "memory", "disk"] as const;
export type Sort = (typeof SORTS)[number];

export const SORT_LABEL: Record<Sort, string> = {
  newest: "Newest first",
  name: "Name",
  parameters: "Most parameters",
  memory: "Most memory",
  disk: "Most disk",
};

export const STATUS_GROUPS = ["ready", "active", "attention", "outdated"] as const;
/** Each row is in one of the first three; an outdated one is so besides. */
export type StatusGroup = (typeof STATUS_GROUPS)[number];
export const STATUS_GROUP_LABEL: Record<StatusGroup, string> = {
  ready: "Ready",
  active: "In progress",
  attention: "Needs attention",
  outdated: "Update available",
};

const GROUP: Record<ModelStatus, StatusGroup> = {
  ready: "ready",
  pending: "active",
  downloading: "active",
  paused: "active",
  quantizing: "active",
  deleting: "active",
  failed: "attention",
  cancelled: "attention",
  missing: "attention",
};

export interface ModelFilter {
  q: string;
  status: StatusGroup | null;
  quantization: Quantization | null;
  tag: string | null;
  favourite: boolean;
  sort: Sort;
}

/** What the address has to lose for all models to be listed, whatever is searched for. */
export const NO_FILTER = { status: null, quantization: null, tag: null, favourite: null };

/** How many of them narrow the list. */
export function countFilters({ status, quantization, tag, favourite }: ModelFilter): number {
  return [status !== null, quantization !== null, tag !== null, favourite].filter(Boolean).length;
}

/** The filter as the address bar holds it; unknown values mean "no filter". */
export function readFilter(parameters: URLSearchParams): ModelFilter {
  return {
    q: parameters.get("q") ?? "",
    status: oneOf(parameters.get("status"), STATUS_GROUPS),
    quantization: oneOf(parameters.get("quantization"), ["none", "8bit", "4bit"]),
    tag: parameters.get("tag"),
    favourite: parameters.get("favourite") === "true",
    sort: oneOf(parameters.get("sort"), SORTS) ?? "newest",
  };
}

function oneOf<T extends string>(value: string | null, allowed: readonly T[]): T | null {
  return allowed.find((candidate) => candidate === value) ?? null;
}

const memoryOf = (model: Model) => model.memory_measured_bytes ?? model.memory_estimated_bytes ?? -1;

// Comparing by a locale's rules is slow, which thousands of rows make felt; times and ids need none.
const byName = new Intl.Collator("en", { numeric: true });
const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const ORDER: Record<Sort, (a: Model, b: Model) => number> = {
  newest: (a, b) => byText(b.created_at, a.created_at),
  name: (a, b) => byName.compare(a.name, b.name),
  parameters: (a, b) => (b.num_parameters ?? -1) - (a.num_parameters ?? -1),
  memory: (a, b) => memoryOf(b) - memoryOf(a),
  disk: (a, b) => b.disk_bytes - a.disk_bytes,
};

function isIn(model: Model, group: StatusGroup): boolean {
  return group === "outdated" ? model.update_available === true : GROUP[model.status] === group;
}

export function filterModels(models: Model[], filter: ModelFilter): Model[] {
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  return models
    .filter((model) => {
      if (filter.status !== null && !isIn(model, filter.status)) return false;
      if (filter.quantization !== null && model.quantization !== filter.quantization) return false;
      if (filter.tag !== null && !model.tags.includes(filter.tag)) return false;
      if (filter.favourite && !model.favourite) return false;
      if (words.length === 0) return true;
      const { model_id, architecture, model_type, tags } = model;
      const text = `${model_id} ${architecture ?? ""} ${model_type ?? ""} ${tags.join(" ")}`.toLowerCase();
      return words.every((word) => text.includes(word));
    })
    .sort((a, b) => ORDER[filter.sort](a, b) || byText(a.id, b.id));
}

/** How many rows each status group holds. */
export function countGroups(models: Model[]): Record<StatusGroup, number> {
  const counts = { ready: 0, active: 0, attention: 0, outdated: 0 };
  for (const model of models) {
    counts[GROUP[model.status]] += 1;
    if (model.update_available === true) counts.outdated += 1;
  }
  return counts;
}

/** The tags in use, in the order of the alphabet. */
export function tagsOf(models: Model[]): string[] {
  return [...new Set(models.flatMap((model) => model.tags))].sort(byName.compare);
}
