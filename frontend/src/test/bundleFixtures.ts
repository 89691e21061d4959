import type { Bundle, BundlePlan } from "../types/bundle";

const MODEL = { model_id: "Qwen/Qwen3-0.6B", commit: "c".repeat(40), quantization: "none", id: "m1" } as const;

export function bundlePlan(fields: Partial<BundlePlan> = {}): BundlePlan {
  return { size_bytes: 1_519_104_512, parts: 1, free_bytes: 212e9, models: [MODEL], refusal: null, ...fields };
}

export function bundle(fields: Partial<Bundle> = {}): Bundle {
  return {
    id: "b1",
    kind: "export",
    status: "ready",
    name: "Qwen3-0.6B.tar",
    progress: null,
    size_bytes: 1_519_104_512,
    parts: [{ name: "Qwen3-0.6B.tar", size_bytes: 1_519_104_512, sha256: "a".repeat(64) }],
    models: [MODEL],
    error: null,
    created_at: "2026-07-01T12:00:00.000Z",
    finished_at: "2026-07-01T12:01:00.000Z",
    ...fields,
  };
}

export function bundleProgress(fields: Partial<NonNullable<Bundle["progress"]>> = {}): NonNullable<Bundle["progress"]> {
  return {
    phase: "writing",
    bytes_done: 759_552_256,
    bytes_total: 1_519_104_512,
    bytes_per_second: 4e8,
    eta_seconds: 2,
    files_done: 3,
    files_total: 10,
    waiting: false,
    stopping: false,
    started_at: "2026-07-01T12:00:00.000Z",
    ...fields,
  };
}
