import { useEffect, useState } from "react";

/** A worker tells a few times a second how a download flows. */
export const QUIET_MS = 5_000;

/** Whether the last news is so old that a rate or a time left in it says nothing any more. */
export function useQuiet(heardAt: number | undefined): boolean {
  const [quietSince, setQuietSince] = useState<number | null>(null);
  useEffect(() => {
    if (heardAt === undefined) return;
    const timer = setTimeout(() => setQuietSince(heardAt), Math.max(0, heardAt + QUIET_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [heardAt]);
  return heardAt !== undefined && quietSince === heardAt;
}
