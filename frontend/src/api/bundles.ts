import { BASE } from "../lib/base";
import type { Bundle, BundleCreate, BundlePlan } from "../types/bundle";
import { request } from "./client";

/** The exact size of an export, before it is started. */
export function planBundle(body: BundleCreate, signal?: AbortSignal): Promise<BundlePlan> {
  return request("POST", "/bundles/plan", { body, signal });
}

export function createBundle(body: BundleCreate): Promise<Bundle> {
  return request("POST", "/bundles", { body });
}

/** Exports and imports, the newest first. */
export function listBundles(signal?: AbortSignal): Promise<{ items: Bundle[] }> {
  return request("GET", "/bundles", { signal });
}

export function getBundle(id: string, signal?: AbortSignal): Promise<Bundle> {
  return request("GET", `/bundles/${id}`, { signal });
}

export type BundleAction = "pause" | "resume" | "cancel";

export function actOnBundle(id: string, action: BundleAction): Promise<Bundle> {
  return request("POST", `/bundles/${id}/${action}`);
}

export function deleteBundle(id: string): Promise<{ freed_bytes: number }> {
  return request("DELETE", `/bundles/${id}`);
}

/** Brings in the models of a bundle on the server's machine. */
export function importBundle(path: string): Promise<Bundle> {
  return request("POST", "/bundles/import", { body: { path } });
}

/** Where a browser downloads a part, counted from 1. */
export function partAddress(id: string, number: number): string {
  return new URL(`api/v1/bundles/${id}/parts/${number}`, BASE).href;
}
