import { create } from "zustand";
import { setUnauthorizedHandler } from "../api/client";

interface SessionState {
  /** The server asked for its key; the sign-in screen takes the page's place. */
  needsKey: boolean;
  signedIn: () => void;
}

export const useSessionStore = create<SessionState>()((set) => {
  setUnauthorizedHandler(() => set({ needsKey: true }));
  return { needsKey: false, signedIn: () => set({ needsKey: false }) };
});
