import { type ComponentType, lazy } from "react";
import { useModelsStore } from "../stores/modelsStore";

const AGAIN_AFTER_MS = 1000;
const ATTEMPTS = 3;

const parts: (() => Promise<unknown>)[] = [];

/**
 * A part of the page that is fetched when it is first needed. React keeps a failure for ever, so one is tried again
 * before React hears of it: once the server is back, where that was the reason.
 */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as React's own `lazy`: any component, its props kept
export function lazyPart<T extends ComponentType<any>>(load: () => Promise<{ default: T }>) {
  parts.push(load);
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

/**
 * Fetches every part once the browser has nothing else to do, so that each is there at once when it is needed, also
 * while the server is away. Returns what takes it back.
 */
export function fetchPartsWhenIdle(): (() => void) | undefined {
  // Safari has no such moment; there a part is fetched when it is needed.
  if (!("requestIdleCallback" in window)) return undefined;
  const waiting = window.requestIdleCallback(() => void fetchParts());
  return () => window.cancelIdleCallback(waiting);
}

/** One after another, and those that a part brings after it. What fails is tried again when it is needed. */
async function fetchParts(): Promise<void> {
  for (const load of parts) await load().catch(() => undefined);
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
