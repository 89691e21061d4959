import { create } from "zustand";
import type { Wanted } from "../lib/yard";
import type { Quantization } from "../types/model";

/** A model that is not there yet, laid over the yard's bars in its true size. */
export interface Ghost {
  label: string;
  quantization: Quantization;
  wanted: Wanted;
  /** It is in memory now. */
  loaded?: boolean;
}

interface GhostState {
  ghost: Ghost | null;
  show: (ghost: Ghost | null) => void;
}

export const useGhostStore = create<GhostState>()((set) => ({ ghost: null, show: (ghost) => set({ ghost }) }));
