import type { HistoryEvent } from "../types/model";
import { formatBytes, formatDuration, formatRate } from "./bytes";
import { sentence } from "./labels";

type Kind = HistoryEvent["kind"];

const DONE: Record<Kind, string> = {
  download: "Downloaded",
  verify: "Verified",
  import: "Imported",
  quantize: "Quantized",
  load: "Loaded",
  unload: "Unloaded",
  generate: "Text generated",
  merge: "Merged",
  files: "Files checked",
  version: "Became the version in use",
};

const WORK: Record<Kind, string> = {
  download: "download",
  verify: "verification",
  import: "import",
  quantize: "quantization",
  load: "load",
  unload: "unload",
  generate: "generation",
  merge: "merge",
  files: "files",
  version: "version",
};

/** "Downloaded", "Verification paused", "Files missing". */
export function eventLabel({ kind, event }: Pick<HistoryEvent, "kind" | "event">): string {
  switch (event) {
    case "done":
      return DONE[kind];
    case "missing":
      return "Files missing";
    case "found":
      return "Files found again";
    case "taken_over":
      return sentence(`${WORK[kind]} continued by another worker`);
    default:
      return sentence(`${WORK[kind]} ${event}`);
  }
}

export type EventTone = "good" | "bad" | "warn" | "quiet";

export function eventTone({ event }: Pick<HistoryEvent, "event">): EventTone {
  switch (event) {
    case "done":
    case "found":
      return "good";
    case "failed":
      return "bad";
    case "missing":
    case "taken_over":
      return "warn";
    default:
      return "quiet";
  }
}

/** "1.50 GB in 41 s, 36.6 MB/s", "1.50 GB, the last 300 MB in 8 s, 37.5 MB/s": a rate only of what moved in that time. */
export function eventFigures(happened: HistoryEvent): string {
  const { kind, event, bytes, moved_bytes: moved, seconds, freed_bytes: freed } = happened;
  if (kind === "unload") return freed == null ? "" : `${formatBytes(freed)} freed`;
  const took = seconds === null ? "" : shortDuration(seconds);
  if (moved == null || bytes === null || seconds === null)
    return [bytes === null ? "" : formatBytes(bytes), took].filter(Boolean).join(" in ");
  if (moved === 0) return event === "done" ? `${formatBytes(bytes)}, already in the cache` : formatBytes(bytes);
  const rate = seconds >= 1 ? `, ${formatRate(moved / seconds)}` : "";
  const last = moved < bytes ? `${formatBytes(bytes)}, the last ${formatBytes(moved)}` : formatBytes(bytes);
  return `${last} in ${took}${rate}`;
}

/** Loads and checks of small models take less than the second that `formatDuration` begins with. */
function shortDuration(seconds: number): string {
  if (seconds < 0.1) return "less than 0.1 s";
  return seconds < 1 ? `${seconds.toFixed(1)} s` : formatDuration(seconds);
}
