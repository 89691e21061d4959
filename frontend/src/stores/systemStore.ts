import { create } from "zustand";
import { listLoaded } from "../api/models";
import { getSystem } from "../api/system";
import { type ProblemView, toProblem } from "../lib/problems";
import { useModelsStore } from "./modelsStore";
import type { LoadedModel, SystemInfo } from "../types/model";

interface SystemState {
  system: SystemInfo | null;
  loaded: LoadedModel[];
  error: ProblemView | null;
  refresh: () => Promise<void>;
}

export const useSystemStore = create<SystemState>()((set) => {
  let latest = 0;
  return {
    system: null,
    loaded: [],
    error: null,
    refresh: async () => {
      const mine = (latest += 1);
      try {
        const { byId } = useModelsStore.getState();
        const anyLoaded = Object.values(byId).some((model) => model.loaded);
        const [system, loaded] = await Promise.all([getSystem(), anyLoaded ? listLoaded() : { items: [] }]);
        if (mine === latest) set({ system, loaded: loaded.items, error: null });
      } catch (error) {
        if (mine === latest) set({ error: toProblem(error) });
      }
    },
  };
});
