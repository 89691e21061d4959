import { useEffect } from "react";
import type { ProblemView } from "../lib/problems";
import { useConn } from "./useModels";

const DATABASE_RETRY_MS = 2_000;

/** Asks again for what a server that was gone could not answer, and what a server without its database could not. */
export function useRetryWhenBack(problem: ProblemView | null, retry: () => void): void {
  const missed = problem?.code === "server_unreachable";
  const isThere = useConn() === "live";
  useEffect(() => {
    if (missed && isThere) retry();
  }, [missed, isThere, retry]);
  useEffect(() => {
    if (problem?.code !== "database_unavailable") return;
    const timer = window.setTimeout(retry, DATABASE_RETRY_MS);
    return () => window.clearTimeout(timer);
  }, [problem, retry]);
}
