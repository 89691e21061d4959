import { useCallback, useEffect, useRef, useState } from "react";
import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";
import { useRetryWhenBack } from "./useRetryWhenBack";

export interface Resource<T> {
  data: T | null;
  problem: ProblemView | null;
  loading: boolean;
  reload: () => void;
}

interface Answer<T> {
  request: string;
  group: string | null;
  data: T | null;
  problem: ProblemView | null;
}

/**
 * Fetches whatever `key` names; null fetches nothing. A newer key aborts the older request, and an answer is shown
 * only while its key is the current one, so a slow answer can never describe another model. Where keys differ in
 * detail only, `group` names what they share: the last answer of the same group stays until the new one is there.
 */
export function useResource<T>(
  key: string | null,
  fetcher: (signal: AbortSignal) => Promise<T>,
  group: string | null = null,
): Resource<T> {
  const [answer, setAnswer] = useState<Answer<T> | null>(null);
  const [round, setRound] = useState(0);
  const load = useRef(fetcher);
  const request = key === null ? null : `${round}:${key}`;

  useEffect(() => {
    load.current = fetcher;
  });

  const reload = useCallback(() => setRound((value) => value + 1), []);
  useRetryWhenBack(answer?.problem ?? null, reload);

  useEffect(() => {
    if (request === null) return;
    const controller = new AbortController();
    load.current(controller.signal).then(
      (data) => setAnswer({ request, group, data, problem: null }),
      (error: unknown) => {
        if (isAbort(error) || controller.signal.aborted) return;
        setAnswer({ request, group, data: null, problem: toProblem(error) });
      },
    );
    return () => controller.abort();
  }, [request, group]);

  const current = answer !== null && answer.request === request;
  const related = answer !== null && request !== null && group !== null && answer.group === group;
  return {
    data: current || related ? answer.data : null,
    problem: current ? answer.problem : null,
    loading: request !== null && !current,
    reload,
  };
}
