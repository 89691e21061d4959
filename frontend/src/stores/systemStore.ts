import { create } from "zustand";
import { listLoaded } from "../api/models";
import { getSystem } from "../api/system";
import { type ProblemView, toProblem } from "../lib/problems";
import type { LoadedModel, SystemInfo } from "../types/model";

interface SystemState {
  system: SystemInfo | null;
  /** Null while it is not known: not asked yet, or not answered. */
  loaded: LoadedModel[] | null;
  error: ProblemView | null;
  refresh: () => Promise<void>;
}

export const useSystemStore = create<SystemState>()((set) => {
  let latest = 0;
  return {
    system: null,
    loaded: null,
    error: null,
    refresh: async () => {
      const mine = (latest += 1);
      // The machine is told even where the models in its memory are not.
      const asked = listLoaded().then(
        ({ items }) => items,
        () => null,
      );
      try {
        const [system, loaded] = await Promise.all([getSystem(), asked]);
        if (mine === latest) set({ system, loaded, error: null });
      } catch (error) {
        if (mine === latest) set({ error: toProblem(error) });
      }
    },
  };
});
