import type { Device, DeviceVerdict, MemoryOption, Verdict } from "../types/model";
import { formatBytes } from "./bytes";

/** The server's thresholds: up to 85 % of what is free fits, up to all of it is tight. */
export function verdictFor(needed: number | null, free: number | null): Verdict {
  if (needed === null || free === null) return "unknown";
  if (needed <= free * 0.85) return "fits";
  return needed <= free ? "tight" : "does_not_fit";
}

const RANK: Record<Verdict, number> = { fits: 3, tight: 2, unknown: 1, does_not_fit: 0 };

/** The device this option runs best on: the kindest verdict, accelerators before system memory. */
export function bestVerdict(option: MemoryOption): DeviceVerdict | null {
  const order = [...option.verdicts].sort(
    (a, b) => RANK[b.verdict] - RANK[a.verdict] || Number(a.device === "cpu") - Number(b.device === "cpu"),
  );
  return order[0] ?? null;
}

/** "GPU 0" for cuda:0, "system memory" for cpu. */
export function deviceLabel(id: string): string {
  if (id === "cpu") return "system memory";
  const index = id.split(":")[1];
  return id.startsWith("cuda") ? `GPU ${index ?? "0"}` : id;
}

/** One sentence with numbers: what happens on this device and by how much. */
export function fitSentence(device: string, needed: number | null, free: number | null): string {
  const place = deviceLabel(device);
  const verdict = verdictFor(needed, free);
  if (needed === null || free === null) return `Not known for ${place}`;
  if (verdict === "fits") return `Fits in ${place}, ${formatBytes(free - needed)} left`;
  if (verdict === "tight") return `Tight in ${place}, only ${formatBytes(free - needed)} left`;
  return `Does not fit in ${place}: ${formatBytes(needed - free)} short`;
}

/** Bytes others use on a device: everything that is neither free nor ours. */
export function usedByOthers(device: Device): number {
  return Math.max(0, device.total_bytes - device.free_bytes - device.used_by_us_bytes);
}
