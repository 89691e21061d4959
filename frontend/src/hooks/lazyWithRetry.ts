import { type ComponentType, lazy } from "react";
import { useModelsStore } from "../stores/modelsStore";

const AGAIN_AFTER_MS = 1000;
const ATTEMPTS = 3;

/**
 * A part of the page that is fetched when it is first needed. React keeps a failure for ever, so one is tried again
 * before React hears of it: once the server is back, where that was the reason.
 */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as React's own `lazy`: any component, its props kept
export function lazyWithRetry<T extends ComponentType<any>>(load: () => Promise<{ default: T }>) {
  return lazy(() => attempt(load, ATTEMPTS));
}

async function attempt<T>(load: () => Promise<T>, left: number): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (left === 1) throw error;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER_MS));
    await untilHeard();
    return attempt(load, left - 1);
  }
}

function untilHeard(): Promise<void> {
  return new Promise((resolve) => {
    if (useModelsStore.getState().conn !== "stale") {
      resolve();
      return;
    }
    const stop = useModelsStore.subscribe(({ conn }) => {
      if (conn === "stale") return;
      stop();
      resolve();
    });
  });
}
