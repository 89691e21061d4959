import { useCallback, useEffect, useRef, useState } from "react";
import { type HubSearch, searchHub } from "../api/models";
import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";
import type { SearchItem, SearchPage } from "../types/model";
import { useResource } from "./useResource";

interface Further {
  /** The page that these come after. */
  first: SearchPage;
  items: SearchItem[];
  next: string | null;
  problem: ProblemView | null;
  loading: boolean;
}

export interface HubResults {
  /** Null until the first page is there. */
  items: SearchItem[] | null;
  problem: ProblemView | null;
  loading: boolean;
  reload: () => void;
  hasMore: boolean;
  /** Fetches the page after those that are there. */
  more: () => void;
  loadingMore: boolean;
  moreProblem: ProblemView | null;
}

/** The models that match, page after page; what `key` names is searched anew when it changes. */
export function useHubSearch(key: string, query: HubSearch): HubResults {
  const search = useResource(key, (signal) => searchHub(query, signal), "hub");
  const first = search.data;
  const [further, setFurther] = useState<Further | null>(null);
  const pending = useRef<AbortController | null>(null);
  const current = further !== null && further.first === first ? further : null;
  const next = current === null ? (first?.next_cursor ?? null) : current.next;

  useEffect(() => () => pending.current?.abort(), [first]);

  const more = useCallback(() => {
    if (first === null || next === null || current?.loading === true) return;
    const controller = new AbortController();
    pending.current = controller;
    const items = current?.items ?? [];
    setFurther({ first, items, next, problem: null, loading: true });
    searchHub({ ...query, cursor: next }, controller.signal).then(
      (page) =>
        setFurther({ first, items: [...items, ...page.items], next: page.next_cursor, problem: null, loading: false }),
      (error: unknown) => {
        if (isAbort(error) || controller.signal.aborted) return;
        setFurther({ first, items, next, problem: toProblem(error), loading: false });
      },
    );
  }, [first, next, current, query]);

  return {
    items: first === null ? null : withoutRepeats([...first.items, ...(current?.items ?? [])]),
    problem: search.problem,
    loading: search.loading,
    reload: search.reload,
    hasMore: next !== null,
    more,
    loadingMore: current?.loading ?? false,
    moreProblem: current?.problem ?? null,
  };
}

/** The Hub's order may move between two pages. */
function withoutRepeats(items: SearchItem[]): SearchItem[] {
  return [...new Map(items.map((item) => [item.model_id, item])).values()];
}
