import { useEffect } from "react";
import { getSae, listSaes } from "../api/saes";
import { isAtWork } from "../lib/sae";
import { useTrainingsStore } from "../stores/trainingsStore";
import type { Sae } from "../types/sae";
import { type Resource, useResource } from "./useResource";

const POLL_MS = 1500;

/** The shelf, or what was trained on one model; read again while there is work, and when a run is completed. */
export function useSaes(modelId: string | null = null): Resource<Sae[]> {
  const completed = useTrainingsStore(
    ({ byId }) => Object.values(byId).filter(({ status }) => status === "completed").length,
  );
  const group = `saes ${modelId ?? ""}`;
  const found = useResource(`${group} ${completed}`, (signal) => listSaes(modelId, signal), group);
  useWhileAtWork(found, found.data?.some(isAtWork) ?? false);
  return found;
}

/** One SAE. */
export function useSae(id: string): Resource<Sae> {
  const found = useResource(id, (signal) => getSae(id, signal), id);
  useWhileAtWork(found, found.data !== null && isAtWork(found.data));
  return found;
}

/** The feed says nothing of this work, so it is asked for. */
function useWhileAtWork({ reload }: Resource<unknown>, busy: boolean): void {
  useEffect(() => {
    if (!busy) return;
    const timer = setInterval(reload, POLL_MS);
    return () => clearInterval(timer);
  }, [busy, reload]);
}
