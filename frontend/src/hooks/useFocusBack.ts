import { useEffect } from "react";

/** When a model's page is left for the list, the keyboard goes on from that model's link there. */
export function useFocusBack(id: string): void {
  useEffect(
    () => () => {
      // The list is drawn after this page is gone.
      setTimeout(() => {
        if (document.activeElement !== document.body) return;
        document.querySelector<HTMLElement>(`[data-card-link][href*="/models/${CSS.escape(id)}"]`)?.focus({
          preventScroll: true,
        });
      });
    },
    [id],
  );
}
