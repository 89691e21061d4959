import { isOutdated } from "./versions";
import type { Model, ModelStatus, Quantization } from "../types/model";
import { diskOf, type ModelGroup } from "./groups";

export const SORTS = ["newest", "name", "parameters", "memory", "disk", "precisions", "state", "tags"] as const;
export type Sort = (typeof SORTS)[number];

export const SORT_LABEL: Record<Sort, string> = {
  newest: "Newest first",
  name: "Name",
  parameters: "Most parameters",
  memory: "Most memory",
  disk: "Most disk",
  precisions: "Most precisions",
  state: "State",
  tags: "Tags",
};

export const STATUS_GROUPS = ["ready", "active", "attention", "outdated"] as const;
/** Each variant is in one of the first three; an outdated one is so besides. */
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
  /** The other way round than usual. */
  reversed: boolean;
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
    reversed: parameters.get("reversed") === "true",
  };
}

function oneOf<T extends string>(value: string | null, allowed: readonly T[]): T | null {
  return allowed.find((candidate) => candidate === value) ?? null;
}

/** Bytes of the weights in memory; null where they are not known. */
export const memoryOf = (model: Model) => model.memory_measured_bytes ?? model.memory_estimated_bytes;

// Comparing by a locale's rules is slow, which thousands of rows make felt; times and ids need none.
const byName = new Intl.Collator("en", { numeric: true });
const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const newest = ({ variants }: ModelGroup) =>
  variants.reduce((latest, { created_at }) => (created_at > latest ? created_at : latest), "");
const mostMemory = ({ variants }: ModelGroup) => Math.max(...variants.map((model) => memoryOf(model) ?? -1));

/** What is at work first, then what needs attention, what is loaded, and what is ready. */
function stateRank({ variants }: ModelGroup): number {
  if (variants.some(({ status }) => GROUP[status] === "active")) return 0;
  if (variants.some(({ status }) => GROUP[status] === "attention")) return 1;
  return variants.some(({ loaded }) => loaded) ? 2 : 3;
}

/** The untagged come last. */
function byTags({ head: a }: ModelGroup, { head: b }: ModelGroup): number {
  if (a.tags.length === 0 || b.tags.length === 0) return b.tags.length - a.tags.length;
  return byName.compare(a.tags.join(" "), b.tags.join(" "));
}

const ORDER: Record<Sort, (a: ModelGroup, b: ModelGroup) => number> = {
  newest: (a, b) => byText(newest(b), newest(a)),
  name: (a, b) => byName.compare(a.head.name, b.head.name),
  parameters: (a, b) => (b.head.num_parameters ?? -1) - (a.head.num_parameters ?? -1),
  memory: (a, b) => mostMemory(b) - mostMemory(a),
  disk: (a, b) => diskOf(b.variants) - diskOf(a.variants),
  precisions: (a, b) => b.variants.length - a.variants.length,
  state: (a, b) => stateRank(a) - stateRank(b),
  tags: byTags,
};

function isIn(model: Model, group: StatusGroup): boolean {
  return group === "outdated" ? isOutdated(model) : GROUP[model.status] === group;
}

function matches(model: Model, filter: ModelFilter, words: string[]): boolean {
  if (filter.status !== null && !isIn(model, filter.status)) return false;
  if (filter.quantization !== null && model.quantization !== filter.quantization) return false;
  if (filter.tag !== null && !model.tags.includes(filter.tag)) return false;
  if (filter.favourite && !model.favourite) return false;
  if (words.length === 0) return true;
  const { model_id, architecture, model_type, tags } = model;
  const text = `${model_id} ${architecture ?? ""} ${model_type ?? ""} ${tags.join(" ")}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** The repositories of which a variant has all that is asked for. */
export function filterGroups(groups: ModelGroup[], filter: ModelFilter): ModelGroup[] {
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  return groups
    .filter(({ variants }) => variants.some((model) => matches(model, filter, words)))
    .sort((a, b) => (filter.reversed ? -1 : 1) * ORDER[filter.sort](a, b) || byText(a.key, b.key));
}

/** How many repositories have a variant in each status group. */
export function countGroups(groups: ModelGroup[]): Record<StatusGroup, number> {
  const counts = { ready: 0, active: 0, attention: 0, outdated: 0 };
  for (const { variants } of groups) {
    for (const group of STATUS_GROUPS) if (variants.some((model) => isIn(model, group))) counts[group] += 1;
  }
  return counts;
}

/** The tags in use, in the order of the alphabet. */
export function tagsOf(models: Model[]): string[] {
  return [...new Set(models.flatMap((model) => model.tags))].sort(byName.compare);
}
