import { useConn } from "./useModels";

/** Why what needs the server cannot be done now; undefined while it answers. */
export function useOfflineReason(): string | undefined {
  return useConn() === "stale" ? "The server does not answer" : undefined;
}
