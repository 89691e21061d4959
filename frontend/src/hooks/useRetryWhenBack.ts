import { useEffect } from "react";
import type { ProblemView } from "../lib/problems";
import { useConn } from "./useModels";

/** What a server that was gone could not answer, one that is back is asked for again. */
export function useRetryWhenBack(problem: ProblemView | null, retry: () => void): void {
  const missed = problem?.code === "server_unreachable";
  const isThere = useConn() === "live";
  useEffect(() => {
    if (missed && isThere) retry();
  }, [missed, isThere, retry]);
}
