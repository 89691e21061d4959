import { useCallback, useEffect, useRef, useState } from "react";
import { getFeature, listFeatures } from "../api/saes";
import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";
import type { FeatureSort, SaeFeature, SaeFeatureItem } from "../types/sae";
import { type Resource, useResource } from "./useResource";

const PAGE = 200;

interface Pages {
  key: string;
  total: number | null;
  items: Map<number, SaeFeatureItem>;
  problem: ProblemView | null;
}

export interface FeatureList {
  /** Null until it is known. */
  total: number | null;
  at: (place: number) => SaeFeatureItem | undefined;
  problem: ProblemView | null;
  /** Fetches what is needed to show these places. */
  need: (first: number, last: number) => void;
  /** Forgets what is there. */
  reload: () => void;
}

/** The features of an SAE in an order, of which those are fetched that are looked at. `built` names the pages. */
export function useFeatureList(id: string, built: string, sort: FeatureSort): FeatureList {
  const [round, setRound] = useState(0);
  const key = `${id} ${built} ${sort} ${round}`;
  const [pages, setPages] = useState<Pages>({ key, total: null, items: new Map(), problem: null });
  const asked = useRef({ key, pages: new Set<number>(), controller: new AbortController() });
  const current = pages.key === key ? pages : null;

  useEffect(() => {
    const now = { key, pages: new Set<number>(), controller: new AbortController() };
    asked.current = now;
    return () => now.controller.abort();
  }, [key]);

  const need = useCallback(
    (first: number, last: number) => {
      const { pages: known, controller } = asked.current;
      for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) {
        if (known.has(page)) continue;
        known.add(page);
        listFeatures(id, { sort, limit: PAGE, offset: page * PAGE }, controller.signal).then(
          (found) =>
            setPages((before) => {
              const items = new Map(before.key === key ? before.items : []);
              found.items.forEach((item, place) => items.set(page * PAGE + place, item));
              return { key, total: found.total, items, problem: null };
            }),
          (error: unknown) => {
            if (isAbort(error) || controller.signal.aborted) return;
            setPages((before) => ({
              key,
              total: before.key === key ? before.total : null,
              items: before.key === key ? before.items : new Map<number, SaeFeatureItem>(),
              problem: toProblem(error),
            }));
          },
        );
      }
    },
    [id, sort, key],
  );

  useEffect(() => need(0, 0), [need]);

  return {
    total: current?.total ?? null,
    at: (place) => current?.items.get(place),
    problem: current?.problem ?? null,
    need,
    reload: useCallback(() => setRound((value) => value + 1), []),
  };
}

/** One feature; the last one stays until the new one is there. */
export function useFeature(id: string, built: string, index: number | null): Resource<SaeFeature> {
  return useResource(
    index === null ? null : `${id} ${built} ${index}`,
    (signal) => getFeature(id, index ?? 0, signal),
    `${id} ${built}`,
  );
}
