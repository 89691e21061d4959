import type { Live } from "../types/feed";
import type { Model, Progress } from "../types/model";
import { formatBytes, fraction } from "./bytes";

/** Quantizing and checking count layers and steps, not bytes; their message says it in words. */
export function countsBytes({ status }: Pick<Model, "status">, progress: Progress | null): boolean {
  return status !== "quantizing" && progress?.phase !== "quantizing" && progress?.phase !== "checking";
}

/** A download has all its bytes before they are hashed, and the hashing is not counted. */
export function isUncounted(progress: Progress | null): boolean {
  return progress?.phase === "verifying" && progress.bytes_done >= (progress.bytes_total ?? 0);
}

type Row = Pick<Model, "status" | "downloaded_bytes" | "size_bytes">;

/** How much of the work on a row is done, from 0 to 1; null where it cannot be told. */
export function shareOf(model: Row, progress: Progress | null): number | null {
  if (progress === null) return fraction(model.downloaded_bytes, model.size_bytes);
  // The checks after the layers are few and begin again at nothing.
  if (isUncounted(progress) || progress.phase === "checking") return null;
  return countsBytes(model, progress)
    ? fraction(progress.bytes_done, progress.bytes_total)
    : fraction(progress.files_done, progress.files_total);
}

/** The share of all that is running, in whole percent; null where none of it can be told. Paused work does not count. */
export function percentOf(byId: Record<string, Model>, live: Record<string, Live>): number | null {
  const shares = Object.entries(live).flatMap(([id, { progress }]) => {
    const model = byId[id];
    if (model === undefined || model.status === "paused" || progress === null) return [];
    return shareOf(model, progress) ?? [];
  });
  if (shares.length === 0) return null;
  return Math.floor((100 * shares.reduce((sum, share) => sum + share, 0)) / shares.length);
}

/** "300 MB of 1.2 GB", or nothing where the whole is not known. */
export function readSoFar({ bytes_done: done, bytes_total: total }: Progress): string {
  return total === null ? "" : `${formatBytes(done)} of ${formatBytes(total)}`;
}
