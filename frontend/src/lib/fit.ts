import type { Device, Verdict } from "../types/model";
import { formatBytes } from "./bytes";

/** The server's thresholds: up to 85 % of what is free fits, up to all of it is tight. */
export function verdictFor(needed: number | null, free: number | null): Verdict {
  if (needed === null || free === null) return "unknown";
  if (needed <= free * 0.85) return "fits";
  return needed <= free ? "tight" : "does_not_fit";
}

/** "GPU 0" for cuda:0, "system memory" for cpu. */
export function deviceLabel(id: string): string {
  if (id === "cpu") return "system memory";
  const index = id.split(":")[1];
  return id.startsWith("cuda") ? `GPU ${index ?? "0"}` : id;
}

/** One sentence with numbers: what happens on this device and by how much. `atLeast`: it may need more than that. */
export function fitSentence(
  device: string,
  verdict: Verdict,
  needed: number | null,
  free: number | null,
  atLeast: boolean,
): string {
  const place = deviceLabel(device);
  if (needed === null || free === null) return `Unknown for ${place}`;
  if (verdict === "does_not_fit")
    return `Does not fit in ${place}: ${atLeast ? "at least " : ""}${formatBytes(needed - free)} short`;
  const left = `${atLeast ? "at most " : ""}${formatBytes(free - needed)} left`;
  if (verdict === "unknown") return `May fit in ${place}: ${left}`;
  if (verdict === "fits") return `Fits in ${place}, ${left}`;
  return `Tight in ${place}, ${atLeast ? left : `only ${left}`}`;
}

export const HALF_PRECISION_BYTES = 2;

/** Bytes of so many weights as they are stored; an unknown dtype is taken for the usual 16 bits. */
export function roughWeights(parameters: number, dtype: string | null): number {
  return parameters * (dtype === "float32" ? 4 : HALF_PRECISION_BYTES);
}

export interface Fit {
  verdict: Verdict;
  words: string;
}

/** Whether so many bytes fit what is free: on the roomiest accelerator or, failing that, in system memory. */
export function fitOf(needed: number | null, devices: Device[]): Fit {
  if (needed === null || devices.length === 0) return { verdict: "unknown", words: "fit unknown" };
  const byRoom = devices.toSorted((a, b) => b.free_bytes - a.free_bytes);
  const gpu = byRoom.find((device) => device.id !== "cpu");
  const memory = byRoom.find((device) => device.id === "cpu");
  const onGpu = verdictFor(needed, gpu?.free_bytes ?? null);
  const inMemory = verdictFor(needed, memory?.free_bytes ?? null);
  if (gpu !== undefined && onGpu !== "does_not_fit") return { verdict: onGpu, words: onGpu };
  if (inMemory === "does_not_fit" || memory === undefined) return { verdict: "does_not_fit", words: "too large" };
  return { verdict: inMemory, words: gpu === undefined ? inMemory : `${inMemory} in system memory only` };
}

/** A first idea from the number of parameters alone, as 16-bit weights. Approximate by nature. */
export function roughFit(parameters: number | null, devices: Device[]): Fit {
  return fitOf(parameters === null ? null : parameters * HALF_PRECISION_BYTES, devices);
}

/** Bytes others use on a device: everything that is neither free nor ours. */
export function usedByOthers(device: Device): number {
  return Math.max(0, device.total_bytes - device.free_bytes - device.used_by_us_bytes);
}
