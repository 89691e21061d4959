import type { Model, Quantization, SearchItem, SearchSort } from "../types/model";
import { formatBytes, formatCount } from "./bytes";

/** What a Hub's search tells of a model, in a few words; what is not known or zero is left out. */
export function hitFacts(item: SearchItem): string[] {
  return [
    item.num_parameters === null ? null : `${formatCount(item.num_parameters)} parameters`,
    item.size_bytes === null ? null : formatBytes(item.size_bytes),
    item.downloads === null || item.downloads === 0 ? null : `${formatCount(item.downloads)} downloads`,
    item.likes === null || item.likes === 0 ? null : item.likes === 1 ? "1 like" : `${formatCount(item.likes)} likes`,
  ].filter((fact) => fact !== null);
}

/** Its files are not for everyone; "unknown" is what a gated model is while a token is set. */
export function isGated(item: SearchItem): boolean {
  return item.access !== "open";
}

export const SEARCH_SORTS = ["downloads", "likes", "trending", "updated"] as const satisfies SearchSort[];

export const SEARCH_SORT_LABEL: Record<SearchSort, string> = {
  downloads: "Most downloads",
  likes: "Most likes",
  trending: "Trending",
  updated: "Recently updated",
};

/** Suggestions; the Hub knows more of each, and one of the address is taken as it is. */
export const TASKS = [
  "text-generation",
  "image-text-to-text",
  "fill-mask",
  "feature-extraction",
  "sentence-similarity",
  "text-classification",
  "token-classification",
  "question-answering",
  "summarization",
  "translation",
];

export const LICENCES = [
  "apache-2.0",
  "mit",
  "bsd-3-clause",
  "cc-by-4.0",
  "cc-by-nc-4.0",
  "gemma",
  "llama3.1",
  "llama3.2",
  "llama3.3",
  "openrail",
  "other",
];

export const ARCHITECTURES = [
  "bert",
  "gemma2",
  "gemma3_text",
  "gpt2",
  "gpt_neox",
  "llama",
  "mistral",
  "mixtral",
  "olmo2",
  "phi3",
  "qwen2",
  "qwen3",
  "qwen3_moe",
  "roberta",
];

/** Millions of parameters, from and to. */
const SIZES = {
  "500M": [null, 500],
  "500M-2B": [500, 2_000],
  "2B-8B": [2_000, 8_000],
  "8B-20B": [8_000, 20_000],
  "20B-80B": [20_000, 80_000],
  "80B": [80_000, null],
} as const;

export type HubSize = keyof typeof SIZES;

export const SIZE_LABEL: Record<HubSize, string> = {
  "500M": "Up to 500M parameters",
  "500M-2B": "500M to 2B",
  "2B-8B": "2B to 8B",
  "8B-20B": "8B to 20B",
  "20B-80B": "20B to 80B",
  "80B": "80B and more",
};

export const HUB_SIZES = Object.keys(SIZES) as HubSize[];

/** What fits this machine, by its word in the address. */
export const FITS: Record<string, Quantization> = { "1": "none", "8bit": "8bit", "4bit": "4bit" };

export interface HubQuery {
  find: string;
  sort: SearchSort;
  task: string | null;
  licence: string | null;
  architecture: string | null;
  size: HubSize | null;
  /** Only what is known to fit this machine in that precision. */
  fitting: Quantization | null;
}

/** In the address; null clears them. */
export const NO_HUB_FILTER = { task: null, licence: null, architecture: null, size: null, fits: null };

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

function nameOf(text: string | null): string | null {
  return text !== null && NAME.test(text) ? text : null;
}

/** The search as the address bar holds it; unknown values mean the usual ones. */
export function readHubQuery(parameters: URLSearchParams): HubQuery {
  return {
    find: parameters.get("find") ?? "",
    sort: SEARCH_SORTS.find((sort) => sort === parameters.get("by")) ?? "downloads",
    task: nameOf(parameters.get("task")),
    licence: nameOf(parameters.get("licence")),
    architecture: nameOf(parameters.get("architecture")),
    size: HUB_SIZES.find((size) => size === parameters.get("size")) ?? null,
    fitting: FITS[parameters.get("fits") ?? ""] ?? null,
  };
}

/** How many filters narrow the search. */
export function countHubFilters({ task, licence, architecture, size, fitting }: HubQuery): number {
  return [task, licence, architecture, size, fitting].filter((value) => value !== null).length;
}

/** What the server is asked. */
export function hubSearch(query: HubQuery, limit: number) {
  const [least, most] = query.size === null ? [null, null] : SIZES[query.size];
  return {
    q: query.find,
    limit,
    sort: query.sort,
    task: query.task,
    licence: query.licence,
    architecture: query.architecture,
    min_parameters: least === null ? null : least * 1e6,
    max_parameters: most === null ? null : most * 1e6,
    fits: query.fitting === null ? null : true,
    precision: query.fitting === "none" ? null : query.fitting,
  };
}

/** Where a model's Hub shows it to people; a Modelyard's own Hub endpoint has files to give, but no pages. */
export function hubPage({ endpoint, canonical_id }: Pick<Model, "endpoint" | "canonical_id">): string | null {
  return endpoint.startsWith("http") && !endpoint.endsWith("/hub") ? `${endpoint}/${canonical_id}` : null;
}
