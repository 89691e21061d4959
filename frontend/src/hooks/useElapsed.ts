import { useEffect, useState } from "react";

/** Seconds since a moment, counted while it is shown; null for none. */
export function useElapsed(since: string | undefined): number | null {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (since === undefined) return;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [since]);
  // The server's clock may be ahead of this one.
  return since === undefined ? null : Math.max(0, (now - Date.parse(since)) / 1_000);
}
