/** What was measured of a model in memory, in words. */
import type { Model } from "../types/model";
import { formatBytes } from "./bytes";

/** Up to this share, measured and estimated memory count as the same. */
const NOTABLE = 0.02;

/** How far the measured memory is from the estimate, where that is worth a remark; `than` says which that was. */
export function formatGap(
  model: Pick<Model, "memory_estimated_bytes" | "memory_measured_bytes">,
  than = "estimated",
): string | null {
  const { memory_estimated_bytes: estimated, memory_measured_bytes: measured } = model;
  if (estimated === null || measured === null || estimated === 0) return null;
  const gap = (measured - estimated) / estimated;
  if (Math.abs(gap) <= NOTABLE) return null;
  const percent = Math.abs(gap) < 0.1 ? Math.abs(gap * 100).toFixed(1) : Math.abs(gap * 100).toFixed(0);
  return `${percent} % ${gap > 0 ? "more" : "less"} than ${than}`;
}

/** Whether the model takes more than was promised; less is no reason to warn. */
export function takesMore(model: Pick<Model, "memory_estimated_bytes" | "memory_measured_bytes">): boolean {
  return (model.memory_measured_bytes ?? 0) > (model.memory_estimated_bytes ?? Infinity);
}

/** What came back at the last unload, against what the model held in memory; what is only mapped holds none. */
export function formatUnload(unload: NonNullable<Model["last_unload"]>): string {
  const { freed_bytes: freed, mapped_bytes: mapped } = unload;
  const held = unload.held_before_bytes - mapped;
  const came =
    freed >= held
      ? `${formatBytes(freed)} freed, all of the ${formatBytes(held)} it held`
      : `${formatBytes(freed)} freed of the ${formatBytes(held)} it held`;
  return mapped === 0 ? came : `${came}; ${formatBytes(mapped)} were only mapped from its files`;
}

/** Memory of the weights as it was computed, kept with the row. */
export function formatWeights({ memory_estimated_bytes: bytes, memory_method }: Model): string | null {
  if (bytes === null) return null;
  return memory_method === "approximate" ? `≈ ${formatBytes(bytes)}` : `${formatBytes(bytes)}, exact`;
}
