import { create } from "zustand";
import { isActive } from "../lib/words";
import { useModelsStore } from "./modelsStore";

interface FinishedState {
  /** Rows whose work ended while the page was open, the latest first. */
  ids: string[];
  clear: () => void;
}

/** What came to an end, kept in sight until it is cleared. */
export const useFinishedStore = create<FinishedState>()((set) => ({ ids: [], clear: () => set({ ids: [] }) }));

useModelsStore.subscribe((state, before) => {
  if (state.byId === before.byId || before.load.state !== "ready") return;
  const { ids } = useFinishedStore.getState();
  const ended: string[] = [];
  let kept = ids.filter((id) => state.byId[id] !== undefined);
  for (const [id, model] of Object.entries(state.byId)) {
    const known = before.byId[id];
    if (known === model || known === undefined || isActive(known.status) === isActive(model.status)) continue;
    kept = kept.filter((other) => other !== id);
    if (isActive(known.status) && model.status !== "deleting") ended.push(id);
  }
  if (ended.length > 0 || kept.length !== ids.length) useFinishedStore.setState({ ids: [...ended, ...kept] });
});
