import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";

/** How far the first reading of a list is. */
export interface Load {
  state: "idle" | "loading" | "ready" | "error";
  error?: ProblemView;
}

interface Options {
  load: () => Load;
  setLoad: (load: Load) => void;
  /** Reads the whole list and stores it as ready. */
  read: () => Promise<void>;
  /** Applies what arrived during the reading, and may be newer than what was read. */
  applyHeld: () => void;
}

/** Reads a list, one reading at a time: a call during a reading makes it run once more. */
export function createListSync({ load, setLoad, read, applyHeld }: Options) {
  let running = false;
  let again = false;

  async function sync(): Promise<void> {
    if (running) {
      again = true;
      return;
    }
    running = true;
    if (load().state !== "ready") setLoad({ state: "loading" });
    try {
      do {
        again = false;
        await read();
      } while (again as boolean);
    } catch (error) {
      if (!isAbort(error) && load().state !== "ready") setLoad({ state: "error", error: toProblem(error) });
    } finally {
      running = false;
      applyHeld();
    }
  }

  return { sync, isRunning: () => running };
}
