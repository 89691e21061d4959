import { useCallback, useEffect, useRef, useState } from "react";
import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";
import { useRetryWhenBack } from "./useRetryWhenBack";

export interface Followed<T> {
  /** Null until the first answer. */
  value: T | null;
  problem: ProblemView | null;
  /** Begins anew, for what failed and is not asked for again by itself. */
  retry: () => void;
}

/**
 * Something of the server's that grows while `growing`: `extend` gets what is known and returns it with what is new.
 * Another `key` begins anew.
 */
export function useFollowed<T>(
  key: string,
  growing: boolean,
  everyMs: number,
  extend: (known: T | null, signal: AbortSignal) => Promise<T>,
): Followed<T> {
  const [followed, setFollowed] = useState<Omit<Followed<T>, "retry">>({ value: null, problem: null });
  const [round, setRound] = useState(0);
  const retry = useCallback(() => setRound((before) => before + 1), []);
  useRetryWhenBack(followed.problem, retry);
  const ask = useRef(extend);
  useEffect(() => {
    ask.current = extend;
  });

  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let known: T | null = null;

    async function next(): Promise<void> {
      try {
        known = await ask.current(known, controller.signal);
        setFollowed({ value: known, problem: null });
      } catch (error) {
        if (isAbort(error) || controller.signal.aborted) return;
        setFollowed((before) => ({ ...before, problem: toProblem(error) }));
      }
      if (growing && !controller.signal.aborted) timer = setTimeout(() => void next(), everyMs);
    }

    void next();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [key, growing, everyMs, round]);

  return { ...followed, retry };
}
