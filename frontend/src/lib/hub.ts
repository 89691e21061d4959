import type { Model, SearchItem, SearchSort } from "../types/model";
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

export const HIT_COUNTS = [12, 24, 50] as const;

export interface HubQuery {
  find: string;
  sort: SearchSort;
  limit: number;
  /** Only what may fit this machine. */
  fitting: boolean;
}

/** The search as the address bar holds it; unknown values mean the usual ones. */
export function readHubQuery(parameters: URLSearchParams): HubQuery {
  return {
    find: parameters.get("find") ?? "",
    sort: SEARCH_SORTS.find((sort) => sort === parameters.get("by")) ?? "downloads",
    limit: HIT_COUNTS.find((count) => String(count) === parameters.get("show")) ?? HIT_COUNTS[0],
    fitting: parameters.get("fits") === "1",
  };
}

/** Where a model's Hub shows it to people; a Modelyard's own Hub endpoint has files to give, but no pages. */
export function hubPage({ endpoint, canonical_id }: Pick<Model, "endpoint" | "canonical_id">): string | null {
  return endpoint.startsWith("http") && !endpoint.endsWith("/hub") ? `${endpoint}/${canonical_id}` : null;
}
