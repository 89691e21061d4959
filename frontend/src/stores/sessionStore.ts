import { create } from "zustand";
import { setUnauthorizedHandler } from "../api/client";
import { signOut } from "../api/system";

interface SessionState {
  /** The server asked for its key; the sign-in screen takes the page's place. */
  needsKey: boolean;
  signedIn: () => void;
  /** Rejects with why the server could not be told. */
  signOut: () => Promise<void>;
}

export const useSessionStore = create<SessionState>()((set) => {
  setUnauthorizedHandler(() => set({ needsKey: true }));
  return {
    needsKey: false,
    signedIn: () => set({ needsKey: false }),
    signOut: async () => {
      await signOut();
      set({ needsKey: true });
    },
  };
});
