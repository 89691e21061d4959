/** The yard's bars as data: what stands in each place where bytes live, in its true size. */
import type { Device, Disk, LoadedModel, Quantization, SystemInfo } from "../types/model";
import { usedByOthers } from "./fit";

export interface Block {
  key: string;
  /** One loaded model, named beside the bar too: most are too narrow there for a name. */
  loaded: boolean;
  label: string;
  bytes: number;
  quantization: Quantization;
}

export interface Place {
  key: string;
  kind: "gpu" | "memory" | "disk";
  label: string;
  detail: string;
  total: number;
  free: number;
  others: number;
  /** Loaded models on a device, one block each; all models' files together on a disk. */
  blocks: Block[];
  /** What of a model comes to stand here. */
  holds: ("memory" | "cache" | "artifact")[];
}

/** `loaded` is null while it is not known: what models take is then part of Modelyard's own. */
export function placesOf(system: SystemInfo, loaded: LoadedModel[] | null): Place[] {
  const gpus = system.devices.filter((device) => device.id !== "cpu");
  const memory = system.devices.filter((device) => device.id === "cpu");
  return [...[...gpus, ...memory].map((device) => devicePlace(device, loaded ?? [])), ...system.disks.map(diskPlace)];
}

function devicePlace(device: Device, loaded: LoadedModel[]): Place {
  const blocks: Block[] = loaded
    .filter((item) => item.device === device.id)
    .map((item) => ({
      key: `${item.id} ${item.dtype}`,
      loaded: true,
      label: item.model_id.split("/").at(-1) ?? item.model_id,
      bytes: item.measured_bytes,
      quantization: item.quantization,
    }));
  const named = blocks.reduce((sum, block) => sum + block.bytes, 0);
  const rest = device.used_by_us_bytes - named;
  // Workers and the libraries they loaded take memory beside the models themselves.
  if (rest > device.total_bytes / 200) {
    blocks.push({ key: "modelyard", loaded: false, label: "Modelyard", bytes: rest, quantization: "none" });
  }
  const cpu = device.id === "cpu";
  return {
    key: device.id,
    kind: cpu ? "memory" : "gpu",
    label: cpu ? "System memory" : `GPU ${device.id.split(":")[1] ?? ""}`.trim(),
    // Below that label "Memory of lab-box (…)" would name it twice.
    detail: cpu ? device.name.replace(/^Memory of /, "") : device.name,
    total: device.total_bytes,
    free: device.free_bytes,
    others: usedByOthers(device),
    blocks,
    holds: ["memory"],
  };
}

/** The server tells the disk of the Hugging Face cache first and that of quantized models last; they may be one. */
function diskPlace(disk: Disk, index: number, all: Disk[]): Place {
  const used = Math.max(0, disk.total_bytes - disk.free_bytes);
  const ours = Math.min(used, disk.used_by_us_bytes);
  return {
    key: disk.path,
    kind: "disk",
    label: "Disk",
    detail: all.length === 1 ? "models and data" : disk.purpose,
    total: disk.total_bytes,
    free: disk.free_bytes,
    others: used - ours,
    blocks: ours === 0 ? [] : [{ key: "models", loaded: false, label: "Models", bytes: ours, quantization: "none" }],
    holds: [...(index === 0 ? ["cache" as const] : []), ...(index === all.length - 1 ? ["artifact" as const] : [])],
  };
}

/** Bytes a model would take in each kind of place; null where it is not known. */
export interface Wanted {
  memory: number | null;
  cache: number | null;
  artifact: number | null;
}

/** What of it would stand in this place; null when a part is not known. */
export function wantedIn(place: Place, wanted: Wanted): number | null {
  const parts = place.holds.map((part) => wanted[part]);
  return parts.some((part) => part === null) ? null : parts.reduce<number>((sum, part) => sum + (part ?? 0), 0);
}

/** The device whose size sets the scale of the small bars: the largest accelerator, else system memory. */
export function bestMemoryPlace(places: Place[]): Place | undefined {
  const devices = places.filter((place) => place.kind !== "disk");
  const gpus = devices.filter((place) => place.kind === "gpu");
  return (gpus.length > 0 ? gpus : devices).toSorted((a, b) => b.total - a.total)[0];
}
