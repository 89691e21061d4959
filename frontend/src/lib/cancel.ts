import type { Live } from "../types/feed";
import type { Model } from "../types/model";
import { formatBytes } from "./bytes";
import { isActive } from "./labels";

/** Bytes on the disk by now. */
export function fetchedBytes(model: Model, live: Live | undefined): number {
  return live?.progress?.bytes_done ?? live?.downloaded_bytes ?? model.downloaded_bytes;
}

/** Whether cancelling takes something away, and so is asked about first. */
export function losesWork(model: Model, live: Live | undefined): boolean {
  // Of a check that is cancelled, the model stays as it was.
  if (!isActive(model.status) || live?.progress?.work === "verify") return false;
  return model.status === "quantizing" || fetchedBytes(model, live) > 0;
}

/** The answer that gives the work up. */
export function discardLabel(model: Model, live: Live | undefined): string {
  return model.status === "quantizing" ? "Stop quantizing" : `Discard ${formatBytes(fetchedBytes(model, live))}`;
}

/** Whether there is a way to stop that loses nothing. */
export function canPause({ status }: Model): boolean {
  return status === "downloading" || status === "pending";
}
