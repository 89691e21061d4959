import { create } from "zustand";

interface PaletteState {
  opened: boolean;
  open: () => void;
  close: () => void;
}

/** Whether the search over everything is open; keys and a button open it. */
export const usePaletteStore = create<PaletteState>()((set) => ({
  opened: false,
  open: () => set({ opened: true }),
  close: () => set({ opened: false }),
}));
