import { useEffect, useState } from "react";
import { getBundle } from "../api/bundles";
import { isAbort } from "../lib/apiError";
import type { Bundle } from "../types/bundle";

const POLL_MS = 1000;

export function isAtWork(bundle: Bundle): boolean {
  return bundle.status === "pending" || bundle.status === "running";
}

/** A bundle as it is now: asked for every second while it is worked on. `set` takes an answer that is known already. */
export function useBundle(initial: Bundle): { bundle: Bundle; set: (bundle: Bundle) => void } {
  const [bundle, set] = useState(initial);
  const atWork = isAtWork(bundle);
  const { id } = bundle;
  useEffect(() => {
    if (!atWork) return;
    const controller = new AbortController();
    const timer = setInterval(() => {
      getBundle(id, controller.signal).then(set, (error: unknown) => {
        // A server that is away is asked again; the connection notice says so meanwhile.
        if (!isAbort(error) && !controller.signal.aborted) console.warn(error);
      });
    }, POLL_MS);
    return () => {
      clearInterval(timer);
      controller.abort();
    };
  }, [id, atWork]);
  return { bundle, set };
}
