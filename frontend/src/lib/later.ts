import { toastUndo } from "./toast";

export const UNDO_MS = 10_000;

interface Later {
  /** What is about to happen: "gpt2 will be deleted". */
  title: string;
  run: () => void;
  undo: () => void;
}

const waiting = new Set<() => void>();

/** Does something after ten seconds unless it is taken back, or at once when the page is left. */
export function doLater({ title, run, undo }: Later): void {
  const finish = (act: () => void) => () => {
    if (!waiting.delete(now)) return;
    clearTimeout(timer);
    hide();
    act();
  };
  const now = finish(run);
  const hide = toastUndo(title, UNDO_MS, finish(undo));
  const timer = setTimeout(now, UNDO_MS);
  waiting.add(now);
}

/** Does now what waits to be done. */
export function doNow(): void {
  for (const now of [...waiting]) now();
}

window.addEventListener("pagehide", doNow);
