import type { CurvePoint, Training, TrainingCompatibility, TrainingPlan } from "../types/training";
import { GB, hookPoint } from "./fixtures";

export function plan(changes: Partial<TrainingPlan> = {}): TrainingPlan {
  return {
    d_in: 1024,
    d_sae: 8192,
    parameters: 16_786_432,
    steps: 489,
    k: 64,
    model_bytes: 1.2 * GB,
    forward_bytes: 0.1 * GB,
    sae_bytes: 0.3 * GB,
    batch_bytes: 0.6 * GB,
    buffer_bytes: 0.2 * GB,
    process_bytes: 0.6 * GB,
    total_bytes: 3 * GB,
    checkpoint_bytes: 0.2 * GB,
    output_bytes: 67_145_728,
    device: "cpu",
    free_bytes: 20 * GB,
    usable_bytes: 18 * GB,
    unloads: [],
    fits: true,
    dataset_column: "text",
    dataset_columns: ["text"],
    fast_dtype: null,
    fast_dtype_bytes: null,
    beginning_token: "<|endoftext|>",
    beginning_tokens: ["<|endoftext|>", "<|im_start|>"],
    dataset_tokens: 5_200_000,
    dataset_counted: false,
    epochs: 0.38,
    refusal: null,
    ...changes,
  };
}

export function training(changes: Partial<Training> = {}): Training {
  return {
    id: "t1",
    status: "running",
    model_id: "m1",
    model_name: "Qwen/Qwen3-0.6B",
    commit: "c1899de289a04d12100db370d81485cdf75e47ca",
    quantization: "none",
    hook_point: "model.layers.14",
    dataset: { path: "/data/corpus.jsonl", column: "text" },
    architecture: "topk",
    expansion_factor: 8,
    k: 64,
    l1_coefficient: null,
    training_tokens: 2_000_000,
    context_size: 256,
    learning_rate: 0.0003,
    batch_tokens: 4096,
    seed: 0,
    device: "auto",
    dtype: "auto",
    beginning: "auto",
    skip_positions: 2,
    checkpoint_seconds: 600,
    d_in: 1024,
    d_sae: 8192,
    progress: {
      phase: "training",
      tokens_done: 819_200,
      tokens_total: 2_000_000,
      tokens_per_second: 21_500,
      eta_seconds: 55,
    },
    metrics: {
      mse: 412.5,
      explained_variance: 0.93,
      explained_variance_per_token: 0.72,
      held_out_explained_variance: 0.71,
      held_out_explained_variance_per_token: 0.7,
      l0: 64,
      dead_features: 12,
    },
    plan: plan(),
    engine: "sae-lens 6.54.12",
    output_path: null,
    error: null,
    resumable: false,
    job_id: "j1",
    created_at: "2026-11-24T10:00:00.000Z",
    updated_at: "2026-11-24T10:01:00.000Z",
    started_at: "2026-11-24T10:00:01.000Z",
    finished_at: null,
    ...changes,
  };
}

export function curvePoint(changes: Partial<CurvePoint> = {}): CurvePoint {
  return {
    step: 100,
    tokens: 409_600,
    mse: 530,
    explained_variance: 0.9,
    explained_variance_per_token: 0.59,
    held_out_explained_variance: 0.58,
    held_out_explained_variance_per_token: 0.57,
    l0: 64,
    dead_features: 3,
    tokens_per_second: 21_300,
    created_at: "2026-11-24T10:00:40.000Z",
    ...changes,
  };
}

/** Four layers with a residual and an MLP point each, and the final norm. */
export function compatibility(changes: Partial<TrainingCompatibility> = {}): TrainingCompatibility {
  return {
    compatible: true,
    level: "structural",
    reasons: [],
    dimensions: { hidden_size: 1024, num_layers: 4 },
    hook_points: [
      ...[0, 1, 2, 3].flatMap((layer) => [
        hookPoint({ path: `model.layers.${layer}`, layer, transformer_lens: `blocks.${layer}.hook_resid_post` }),
        hookPoint({ path: `model.layers.${layer}.mlp`, layer, kind: "mlp", transformer_lens: null }),
      ]),
      hookPoint({ path: "model.norm", layer: null, kind: "norm", transformer_lens: null }),
    ],
    ...changes,
  };
}

export function trainingPage(items: Training[]) {
  return { items, total: items.length, limit: 200, offset: 0 };
}
