import type {
  Architecture,
  Disk,
  Drift,
  HistoryEvent,
  HookPoint,
  LoadedModel,
  MemoryEstimate,
  MemoryOption,
  Model,
  ModelInfo,
  ModuleNode,
  Problem,
  Progress,
  SearchItem,
  SettingsView,
  SystemInfo,
} from "../types/model";
import type { Live } from "../types/feed";

export const GB = 1e9;

export function model(changes: Partial<Model> = {}): Model {
  const model_id = changes.model_id ?? "Qwen/Qwen3-0.6B";
  return {
    id: "m1",
    model_id,
    canonical_id: model_id,
    name: model_id.split("/").at(-1) ?? model_id,
    endpoint: "https://huggingface.co",
    revision: "main",
    commit: "c1899de289a04d12100db370d81485cdf75e47ca",
    kind: "model",
    base_id: null,
    adapter: null,
    status: "ready",
    quantization: "none",
    architecture: "Qwen3ForCausalLM",
    model_type: "qwen3",
    num_parameters: 596_049_920,
    dtype: "bfloat16",
    hidden_size: 1024,
    num_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    intermediate_size: 3072,
    vocab_size: 151_936,
    max_position_embeddings: 40_960,
    size_bytes: 1_503_300_328,
    downloaded_bytes: 1_503_300_328,
    disk_bytes: 1_503_300_328,
    shared_bytes: 0,
    original_bytes: 0,
    memory_estimated_bytes: 1_192_099_840,
    memory_method: "exact",
    memory_measured_bytes: null,
    drift: null,
    has_chat_template: true,
    remarks: [],
    generates_text: true,
    last_unload: null,
    last_load_seconds: null,
    unloading: false,
    restarts_with: null,
    progress: null,
    error: null,
    loaded: false,
    used_by: [],
    adopted: false,
    gated: false,
    licence: "apache-2.0",
    converted_from: null,
    gguf_file: null,
    merged_from: null,
    has_custom_code: false,
    training: { compatible: true, reasons: [] },
    latest_commit: null,
    update_available: null,
    pinned_commit: null,
    replaced_by: null,
    previous_commit: null,
    checked_at: null,
    tags: [],
    note: "",
    favourite: false,
    job_id: null,
    snapshot_path: "/cache/models--Qwen--Qwen3-0.6B/snapshots/c1899de",
    created_at: "2026-11-24T10:00:00.000Z",
    updated_at: "2026-11-24T10:00:00.000Z",
    ...changes,
  };
}

/** An adapter of a model that is here, unless `base_id` says otherwise. */
export function adapter(changes: Partial<Model> = {}): Model {
  return model({
    id: "a1",
    model_id: changes.model_id ?? "lab/lora",
    kind: "adapter",
    base_id: "m1",
    adapter: { base_model: "Qwen/Qwen3-0.6B", base_revision: null, rank: 8, target_modules: ["q_proj", "v_proj"] },
    num_parameters: 1_000_000,
    memory_estimated_bytes: 4_000_000,
    ...changes,
  });
}

/** One model of a Hub's search. */
export function hit(changes: Partial<SearchItem> = {}): SearchItem {
  return {
    model_id: "Qwen/Qwen3-0.6B",
    downloads: 9_000_000,
    likes: 800,
    num_parameters: 751_632_384,
    size_bytes: 1_519_209_472,
    access: "open",
    pipeline_tag: "text-generation",
    licence: "apache-2.0",
    model_type: "qwen3",
    weights_bytes: 1_503_264_768,
    fits: "fits",
    installed: false,
    is_sample: false,
    ...changes,
  };
}

export function historyEvent(changes: Partial<HistoryEvent> = {}): HistoryEvent {
  return {
    at: "2026-11-24T10:00:30.000Z",
    kind: "download",
    event: "done",
    seconds: 30,
    bytes: 1_500_000_000,
    moved_bytes: 1_500_000_000,
    freed_bytes: null,
    error: null,
    ...changes,
  };
}

export function loadedModel(changes: Partial<LoadedModel> = {}): LoadedModel {
  return {
    id: "m1",
    model_id: "Qwen/Qwen3-0.6B",
    quantization: "none",
    device: "cpu",
    dtype: "auto",
    host: "lab",
    measured_bytes: 1_192_099_840,
    load_seconds: 0.8,
    in_use: 0,
    pinned: false,
    expires_at: null,
    last_unload: null,
    ...changes,
  };
}

export function drift(changes: Partial<Drift> = {}): Drift {
  return {
    prompts: 12,
    tokens: 541,
    compared_dtype: "bfloat16",
    kl_mean: 0.0123,
    kl_max: 0.2,
    top1_agreement: 0.876,
    perplexity: 32.4,
    source_perplexity: 24.6,
    residual_cosine: [1, 0.998, 0.981, 0.99],
    output_cosine: null,
    reason: null,
    ...changes,
  };
}

export function progress(changes: Partial<Progress> = {}): Progress {
  return {
    work: "download",
    phase: "downloading",
    bytes_done: 400_000_000,
    bytes_total: 1_600_000_000,
    bytes_per_second: 50_000_000,
    eta_seconds: 24,
    files_done: 2,
    files_total: 5,
    waiting: false,
    stopping: false,
    started_at: new Date().toISOString(),
    step: null,
    message: null,
    ...changes,
  };
}

export function downloading(changes: Partial<Model> = {}): Model {
  return model({ status: "downloading", snapshot_path: null, job_id: "j1", progress: progress(), ...changes });
}

/** What moves in a row, as just told. */
export function liveOf({ progress, downloaded_bytes, disk_bytes, updated_at }: Model, heardAt = Date.now()): Live {
  return { progress, downloaded_bytes, disk_bytes, updated_at, heardAt };
}

/** A download that stopped because the disk was full. */
export function outOfRoom(changes: Partial<Model> = {}): Model {
  const error = { code: "disk_full", message: "The disk is full.", hint: "Free 0.5 GB, then resume.", during: null };
  return downloading({ status: "paused", error, ...changes });
}

export function info(changes: Partial<ModelInfo> = {}): ModelInfo {
  return {
    model_id: "Qwen/Qwen3-0.6B",
    canonical_id: "Qwen/Qwen3-0.6B",
    commit: "c1899de289a04d12100db370d81485cdf75e47ca",
    endpoint: "https://huggingface.co",
    architecture: "Qwen3ForCausalLM",
    model_type: "qwen3",
    dimensions: { hidden_size: 1024, num_layers: 28, max_position_embeddings: 40_960 },
    num_parameters: 596_049_920,
    dtype: "bfloat16",
    size_bytes: 1_503_300_328,
    missing_bytes: 1_503_300_328,
    files: [
      { path: "model.safetensors", size_bytes: 1_503_300_000, sha256: "ab".repeat(32), fetch: true, reason: "weights" },
      {
        path: "model.bin",
        size_bytes: 1_503_300_000,
        sha256: null,
        fetch: false,
        reason: "pickle; safetensors are there",
      },
    ],
    licence: "apache-2.0",
    access: "open",
    tags: [],
    downloads: 10,
    likes: 1,
    last_modified: null,
    has_tokenizer: true,
    needs_custom_code: false,
    already_quantized: null,
    support: { level: "supported", reasons: [] },
    adapter: null,
    gguf_files: [],
    training: { compatible: true, reasons: [] },
    warnings: [],
    ...changes,
  };
}

export function option(changes: Partial<MemoryOption> = {}): MemoryOption {
  return {
    quantization: "none",
    weights_bytes: 1.2 * GB,
    quantization_state_bytes: 0,
    quantized_fraction: 0,
    kv_cache_bytes: 0.2 * GB,
    activation_bytes: 0.1 * GB,
    overhead_bytes: 0,
    total_bytes: 1.5 * GB,
    total_is_lower_bound: false,
    load_peak_bytes: 1.5 * GB,
    download_bytes: 1.5 * GB,
    disk_bytes: 1.5 * GB,
    available: true,
    note: null,
    verdicts: [{ device: "cpu", verdict: "fits", free_bytes: 20 * GB, total_bytes: 25 * GB }],
    ...changes,
  };
}

export function estimate(changes: Partial<MemoryEstimate> = {}): MemoryEstimate {
  return {
    model_id: "Qwen/Qwen3-0.6B",
    commit: "c1899de289a04d12100db370d81485cdf75e47ca",
    adapter_bytes: 0,
    method: "exact",
    method_reason: null,
    may_improve: false,
    num_parameters: 596_049_920,
    dtype: "bfloat16",
    fast_dtype: null,
    kv_cache_segments: [{ from_tokens: 0, bytes_at_from: 0, bytes_per_token: (0.2 * GB) / 2048 }],
    context: 2048,
    batch: 1,
    options: [
      option(),
      option({ quantization: "8bit", weights_bytes: 0.75 * GB, total_bytes: 1.05 * GB }),
      option({ quantization: "4bit", weights_bytes: 0.5 * GB, total_bytes: 0.8 * GB, disk_bytes: 0.5 * GB }),
    ],
    ...changes,
  };
}

export function hookPoint(changes: Partial<HookPoint> = {}): HookPoint {
  return {
    path: "model.layers.0",
    layer: 0,
    kind: "residual",
    shape: ["batch", "seq", 1024],
    width: 1024,
    output: "tensor",
    verified: true,
    transformer_lens: "blocks.0.hook_resid_post",
    ...changes,
  };
}

export function module(name: string, type: string, num_parameters: number, children: ModuleNode[] = []): ModuleNode {
  return { name, type, num_parameters, children };
}

/** Two blocks of a small Qwen3. */
export function architecture(changes: Partial<Architecture> = {}): Architecture {
  const block = (index: number) =>
    module(String(index), "Qwen3DecoderLayer", 300, [
      module("self_attn", "Qwen3Attention", 200, [module("q_proj", "Linear", 100), module("o_proj", "Linear", 100)]),
      module("mlp", "Qwen3MLP", 100),
    ]);
  return {
    model_id: "Qwen/Qwen3-0.6B",
    commit: "c1899de289a04d12100db370d81485cdf75e47ca",
    model_class: "Qwen3ForCausalLM",
    model_type: "qwen3",
    num_parameters: 1600,
    method: "meta",
    verified: true,
    reason: null,
    dimensions: { hidden_size: 1024, num_layers: 2, vocab_size: 151_936 },
    layers_path: "model.layers",
    final_norm: "model.norm",
    tied: [["lm_head.weight", "model.embed_tokens.weight"]],
    flags: ["tied_weights"],
    hook_points: [0, 1].flatMap((layer) => [
      hookPoint({ path: `model.layers.${layer}`, layer, transformer_lens: `blocks.${layer}.hook_resid_post` }),
      hookPoint({
        path: `model.layers.${layer}.self_attn`,
        layer,
        kind: "attention",
        output: "tuple",
        transformer_lens: null,
      }),
    ]),
    tree: module("", "Qwen3ForCausalLM", 1600, [
      module("model", "Qwen3Model", 1600, [
        module("embed_tokens", "Embedding", 900),
        module("layers", "ModuleList", 600, [block(0), block(1)]),
        module("norm", "Qwen3RMSNorm", 100),
      ]),
    ]),
    ...changes,
  };
}

export function disk({ path = "/cache", purpose = "models", ...changes }: Partial<Disk> = {}): Disk {
  return {
    path,
    total_bytes: 500 * GB,
    free_bytes: 200 * GB,
    used_by_us_bytes: 0,
    purpose,
    places: [{ path, purpose }],
    ...changes,
  };
}

export function system(changes: Partial<SystemInfo> = {}): SystemInfo {
  return {
    version: "0.1.0",
    devices: [{ id: "cpu", name: "Memory of test", total_bytes: 25 * GB, free_bytes: 20 * GB, used_by_us_bytes: 0 }],
    disks: [disk()],
    hub: {
      endpoint: "https://huggingface.co",
      endpoint_source: "default",
      reachable: true,
      reason: null,
      user: null,
      token: "none",
    },
    extras: { torch: true, sae: false },
    missing: [],
    libraries: { torch: "2.13.0" },
    workers: [],
    warm: true,
    needs_key: false,
    ...changes,
  };
}

export function settings(changes: Partial<SettingsView> = {}): SettingsView {
  return {
    endpoint: "https://huggingface.co",
    endpoint_source: "default",
    parallel_downloads: 3,
    connections: 8,
    download_order: "oldest_first",
    prefer_fast_dtype: false,
    bandwidth_limit_bytes_per_second: null,
    token_set: false,
    defaults: { quantization: null },
    ...changes,
  };
}

export function problem(status: number, code: string, detail: string, more: Record<string, unknown> = {}): Problem {
  return { type: "about:blank", title: code, status, code, detail, hint: null, ...more };
}
