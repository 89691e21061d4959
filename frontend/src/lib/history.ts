import type { HistoryEvent } from "../types/model";
import { formatBytes, formatDuration, formatRate } from "./bytes";
import { sentence } from "./words";

type Kind = HistoryEvent["kind"];

const DONE: Record<Kind, string> = {
  download: "Downloaded",
  verify: "Verified",
  import: "Imported",
  quantize: "Quantized",
  load: "Loaded",
  unload: "Unloaded",
  generate: "Text generated",
  files: "Files looked at",
};

const WORK: Record<Kind, string> = {
  download: "download",
  verify: "verification",
  import: "import",
  quantize: "quantization",
  load: "load",
  unload: "unload",
  generate: "generation",
  files: "files",
};

/** "Downloaded", "Verification paused", "Files vanished from the disk". */
export function eventWords({ kind, event }: Pick<HistoryEvent, "kind" | "event">): string {
  switch (event) {
    case "done":
      return DONE[kind];
    case "missing":
      return "Files vanished from the disk";
    case "found":
      return "Files came back";
    case "taken_over":
      return sentence(`${WORK[kind]} taken up by another worker`);
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

/** "1.50 GB in 41 s, 36.6 MB/s"; a rate only of bytes that were moved or read. */
export function eventFigures({ kind, bytes, seconds }: HistoryEvent): string {
  const moved = kind === "download" || kind === "verify" || kind === "import";
  const parts = [
    bytes === null ? null : formatBytes(bytes),
    seconds === null ? null : shortDuration(seconds),
  ].filter((part) => part !== null);
  const rate = moved && bytes !== null && seconds !== null && seconds >= 1 ? `, ${formatRate(bytes / seconds)}` : "";
  return parts.join(" in ") + rate;
}

/** Loads and checks of small models take less than the second that `formatDuration` begins with. */
function shortDuration(seconds: number): string {
  if (seconds < 0.1) return "less than 0.1 s";
  return seconds < 1 ? `${seconds.toFixed(1)} s` : formatDuration(seconds);
}
