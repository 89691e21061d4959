import { create } from "zustand";
import { isActive } from "../lib/labels";
import type { Model } from "../types/model";
import { useModelsStore } from "./modelsStore";

interface FinishedState {
  /** Rows whose work ended while the page was open, and those that failed before, the latest first. */
  ids: string[];
  clear: () => void;
}

/** Failed rows that were cleared away, as the server goes on to list them. */
const CLEARED = "modelyard.cleared";

const failedIds = (byId: Record<string, Model>) =>
  Object.values(byId)
    .filter((model) => model.status === "failed")
    .toSorted((a, b) => b.updated_at.localeCompare(a.updated_at))
    .map((model) => model.id);

function readCleared(): Set<string> {
  return new Set((localStorage.getItem(CLEARED) ?? "").split(" ").filter(Boolean));
}

/** Only those that are failed still: one that fails anew is told anew. */
function keepCleared(cleared: Iterable<string>, failed: string[]): void {
  localStorage.setItem(CLEARED, [...new Set(cleared)].filter((id) => failed.includes(id)).join(" "));
}

/** What came to an end, kept in sight until it is cleared. */
export const useFinishedStore = create<FinishedState>()((set, get) => ({
  ids: [],
  clear: () => {
    keepCleared([...readCleared(), ...get().ids], failedIds(useModelsStore.getState().byId));
    set({ ids: [] });
  },
}));

useModelsStore.subscribe((state, before) => {
  if (state.load.state !== "ready") return;
  if (before.load.state !== "ready") {
    const failed = failedIds(state.byId);
    keepCleared(readCleared(), failed);
    const cleared = readCleared();
    const { ids } = useFinishedStore.getState();
    const known = ids.filter((id) => state.byId[id] !== undefined);
    const told = failed.filter((id) => !cleared.has(id) && !known.includes(id));
    if (told.length > 0 || known.length !== ids.length) useFinishedStore.setState({ ids: [...known, ...told] });
    return;
  }
  if (state.byId === before.byId) return;
  const { ids } = useFinishedStore.getState();
  const ended: string[] = [];
  let kept = ids.filter((id) => state.byId[id] !== undefined);
  for (const [id, model] of Object.entries(state.byId)) {
    const known = before.byId[id];
    if (known === model || known === undefined || isActive(known.status) === isActive(model.status)) continue;
    kept = kept.filter((other) => other !== id);
    if (isActive(known.status) && model.status !== "deleting") ended.push(id);
  }
  if (ended.length === 0 && kept.length === ids.length) return;
  if (ended.length > 0)
    keepCleared(
      [...readCleared()].filter((id) => !ended.includes(id)),
      failedIds(state.byId),
    );
  useFinishedStore.setState({ ids: [...ended, ...kept] });
});
