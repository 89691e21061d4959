/** Training runs as words, figures and code. */
import type { HookKind, HookPoint, Model } from "../types/model";
import type {
  Dtype,
  SaeArchitecture,
  Training,
  TrainingCompatibility,
  TrainingPlan,
  TrainingRequest,
  TrainingStatus,
} from "../types/training";
import { formatBytes, formatCount, formatDuration } from "./bytes";
import { KIND_LABEL } from "./hooks";
import { sentence } from "./labels";

export const TRAINING_STATUS_LABEL: Record<TrainingStatus, string> = {
  pending: "Waiting",
  running: "Running",
  cancelling: "Cancelling",
  cancelled: "Cancelled",
  failed: "Failed",
  completed: "Completed",
};

export const ARCHITECTURE_LABEL: Record<SaeArchitecture, string> = {
  topk: "TopK",
  batchtopk: "BatchTopK",
  matryoshka: "Matryoshka BatchTopK",
  standard: "Standard, L1 penalty",
};

export const ARCHITECTURE_NOTE: Record<SaeArchitecture, string> = {
  topk: "Exactly k features are active on every token.",
  batchtopk: "k features per token on average over a batch; saved as JumpReLU.",
  matryoshka: "Nested dictionaries, each of which reconstructs on its own; k per token on average.",
  standard: "The penalty needs tuning and many more tokens before few features are active.",
};

export function isRunning(status: TrainingStatus): boolean {
  return status === "pending" || status === "running" || status === "cancelling";
}

/** What a run does now. `behind`: another one is being trained, and they are trained one by one. */
export function trainingPhaseLabel(run: Pick<Training, "status" | "progress" | "error">, behind = false): string {
  const { status, progress, error } = run;
  if (status === "pending" && error !== null)
    return error.code === "disk_full" ? "Waiting for room on the disk" : "Waiting for access to the disk";
  if (status === "pending") return behind ? "Waiting for an earlier run" : "Waiting for a worker";
  if (status === "cancelling") return "Saving a checkpoint";
  if (status !== "running") return TRAINING_STATUS_LABEL[status];
  switch (progress.phase) {
    case null:
      return "Starting";
    case "making_room":
      return "Unloading idle models";
    case "starting":
      return "Importing the libraries";
    case "loading":
      return "Loading the model";
    case "checking":
      return "Checking the hook point";
    case "filling_buffer":
      return "Filling the activation buffer";
    case "training":
      return "Training";
    case "saving":
      return "Saving the SAE";
  }
}

export function formatTokens(tokens: number): string {
  return `${formatCount(tokens)} tokens`;
}

/** How far, how fast, how long still; what is not known is left out. `stale`: it may have changed since. */
export function progressFigures({ status, progress }: Pick<Training, "status" | "progress">, stale = false): string[] {
  const { tokens_done, tokens_total, tokens_per_second, eta_seconds } = progress;
  const flowing = status === "running" && progress.phase === "training" && !stale;
  return [
    `${formatCount(tokens_done)} of ${formatTokens(tokens_total)}`,
    flowing && tokens_per_second !== null ? `${formatCount(Math.round(tokens_per_second))} tokens/s` : "",
    flowing && eta_seconds !== null ? `${formatDuration(eta_seconds)} left` : "",
  ].filter(Boolean);
}

/** A run's figures in the one order and with the one name they have; `of` says more where there is room. */
const OTHERS = [
  { field: "l0", name: "L0", of: "features per token" },
  { field: "mse", name: "MSE", of: "summed over the width" },
  { field: "dead_features", name: "Dead features", of: null },
] as const;
const METRICS = [
  { field: "held_out_explained_variance", name: "Explained variance", of: "held-out text" },
  { field: "explained_variance_per_token", name: "Explained variance", of: "mean over a batch's tokens" },
  ...OTHERS,
] as const;
/** What runs of earlier versions kept. */
const FORMER_METRICS = [
  { field: "explained_variance", name: "Explained variance", of: "last batch" },
  ...OTHERS,
] as const;

export type Metric = (typeof METRICS)[number] | (typeof FORMER_METRICS)[number];

export function metricsOf(known: NonNullable<Training["metrics"]>): readonly Metric[] {
  return known.explained_variance_per_token == null && known.explained_variance !== null ? FORMER_METRICS : METRICS;
}

export function metricName({ name, of }: Metric): string {
  return of === null ? name : `${name}, ${of}`;
}

/** A run's last figure. */
export function metricValue({ metrics, d_sae }: Pick<Training, "metrics" | "d_sae">, { field }: Metric): string {
  const value = metrics?.[field];
  const words = formatMetric(value);
  return field === "dead_features" && value != null ? `${words} of ${d_sae.toLocaleString("en")}` : words;
}

/** A metric with the digits that mean something; "unknown" for none. */
export function formatMetric(value: number | null | undefined): string {
  if (value == null) return "unknown";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return value.toLocaleString("en");
  if (Math.abs(value) >= 1000) return formatCount(Math.round(value));
  return Math.abs(value) < 1 ? value.toFixed(3) : value.toPrecision(3);
}

export interface HookChoice {
  value: string;
  label: string;
}

/** The kinds of point there are, the residual stream first. */
export function kindsOf(points: HookPoint[]): HookKind[] {
  const kinds = new Set(points.map(({ kind }) => kind));
  return (Object.keys(KIND_LABEL) as HookKind[]).filter((kind) => kinds.has(kind));
}

/** The points of a kind by layer; by path too where a layer has several, or a point belongs to none. */
export function choicesOf(points: HookPoint[], kind: HookKind): HookChoice[] {
  const ofKind = points.filter((point) => point.kind === kind);
  return ofKind.map(({ path, layer }) => {
    const alone = ofKind.filter((other) => other.layer === layer).length === 1;
    return { value: path, label: layer === null ? path : alone ? `Layer ${layer}` : `Layer ${layer}, ${path}` };
  });
}

/** The same layer's point of a kind, else the middle one: where features tend to be most abstract. */
export function pointFor(points: HookPoint[], kind: HookKind, layer: number | null): HookPoint | undefined {
  const ofKind = points.filter((point) => point.kind === kind);
  return ofKind.find((point) => layer !== null && point.layer === layer) ?? ofKind[Math.floor(ofKind.length / 2)];
}

export function suggestedPoint(points: HookPoint[]): HookPoint | undefined {
  const kind = kindsOf(points)[0];
  return kind === undefined ? undefined : pointFor(points, kind, null);
}

/** How sure it is that a model can be trained on. */
export function compatibilityLabel({ compatible, level }: Pick<TrainingCompatibility, "compatible" | "level">): string {
  if (compatible === false) return "SAE training is not possible";
  if (compatible === null) return "Not verified for SAE training";
  return level === "live"
    ? "Ready for SAE training, as an earlier run has shown"
    : level === "structural"
      ? "Ready for SAE training"
      : "Ready for SAE training, by its configuration";
}

/** What is typed; an empty field is "", an empty column the only one that holds text. */
export interface TrainingDraft {
  path: string;
  column: string;
  architecture: SaeArchitecture;
  expansion: number | "";
  k: number | "";
  l1: number | "";
  tokens: number | "";
  context: number | "";
  learningRate: number | "";
  batch: number | "";
  device: string;
  dtype: Dtype;
  seed: number | "";
  beginning: string;
  skipPositions: number | "";
  checkpointMinutes: number | "";
}

export const FIRST_DRAFT: TrainingDraft = {
  path: "",
  column: "",
  architecture: "topk",
  expansion: 8,
  k: "",
  l1: "",
  tokens: 2_000_000,
  context: 256,
  learningRate: 0.0003,
  batch: 4096,
  device: "auto",
  dtype: "auto",
  seed: 0,
  beginning: "auto",
  skipPositions: 2,
  checkpointMinutes: 10,
};

/** The settings of a run, for another one. */
export function draftOf(training: Training): TrainingDraft {
  return {
    path: training.dataset.path,
    column: training.dataset.column ?? "",
    architecture: training.architecture,
    expansion: training.expansion_factor,
    k: training.k ?? "",
    l1: training.l1_coefficient ?? "",
    tokens: training.training_tokens,
    context: training.context_size,
    learningRate: training.learning_rate,
    batch: training.batch_tokens,
    device: training.device,
    dtype: training.dtype,
    seed: training.seed,
    beginning: training.beginning,
    skipPositions: training.skip_positions,
    checkpointMinutes: training.checkpoint_seconds / 60,
  };
}

export const usesK = (architecture: SaeArchitecture) => architecture !== "standard";

/** The server's default: 32 below a width of 1024, else 64. */
export function defaultK(width: number): number {
  return width < 1024 ? 32 : 64;
}

/** What is asked of the server, or which fields still stand in the way, under the server's names for them. */
export function requestOf(
  draft: TrainingDraft,
  modelId: string,
  hookPoint: string,
): { request: TrainingRequest } | { missing: string[] } {
  const { expansion, tokens, context, learningRate, batch, seed, skipPositions, checkpointMinutes } = draft;
  const missing = [...(hookPoint === "" ? ["hook_point"] : []), ...(draft.path.trim() === "" ? ["dataset.path"] : [])];
  if (
    expansion === "" ||
    tokens === "" ||
    context === "" ||
    learningRate === "" ||
    batch === "" ||
    seed === "" ||
    skipPositions === "" ||
    checkpointMinutes === "" ||
    missing.length > 0
  ) {
    const numbers = {
      expansion_factor: expansion,
      training_tokens: tokens,
      context_size: context,
      learning_rate: learningRate,
      batch_tokens: batch,
      seed,
      skip_positions: skipPositions,
      checkpoint_seconds: checkpointMinutes,
    };
    const empty = Object.entries(numbers).flatMap(([name, value]) => (value === "" ? [name] : []));
    return { missing: [...missing, ...empty] };
  }
  return {
    request: {
      model_id: modelId,
      hook_point: hookPoint,
      dataset: { path: draft.path.trim(), column: draft.column.trim() || null },
      architecture: draft.architecture,
      expansion_factor: expansion,
      k: usesK(draft.architecture) && draft.k !== "" ? draft.k : null,
      l1_coefficient: !usesK(draft.architecture) && draft.l1 !== "" ? draft.l1 : null,
      training_tokens: tokens,
      context_size: context,
      learning_rate: learningRate,
      batch_tokens: batch,
      seed,
      device: draft.device,
      dtype: draft.dtype,
      beginning: draft.beginning,
      skip_positions: skipPositions,
      checkpoint_seconds: Math.round(checkpointMinutes * 60),
    },
  };
}

/** How a plan fits a device, by what is free there and what idle models give up. */
export function fitLabel(
  { fits, total_bytes, free_bytes, usable_bytes, unloads }: TrainingPlan,
  place: string,
): string {
  const [total, free, usable] = [total_bytes, free_bytes, usable_bytes].map(formatBytes);
  if (!fits) return `Does not fit in ${place}: needs ${total}, ${usable} of the ${free} free may be used`;
  if (unloads.length === 0) return `Fits in ${place}: ${total} of the ${free} free`;
  const names = unloads.map(({ name }) => name).join(", ");
  const given = formatBytes(unloads.reduce((sum, { measured_bytes }) => sum + measured_bytes, 0));
  return `Fits in ${place}: ${total} of the ${free} free plus ${given} of idle models that are unloaded first: ${names}`;
}

export interface PlanPart {
  name: "model" | "forward" | "sae" | "batch" | "buffer" | "process";
  label: string;
  /** Null is unknown. */
  bytes: number | null;
}

export function partsOf(plan: TrainingPlan): PlanPart[] {
  return [
    { name: "model", label: "The loaded model", bytes: plan.model_bytes },
    { name: "forward", label: "Its forward pass up to the hook point", bytes: plan.forward_bytes },
    { name: "sae", label: "SAE: weights, gradients, optimizer", bytes: plan.sae_bytes },
    { name: "batch", label: "One batch of activations", bytes: plan.batch_bytes },
    { name: "buffer", label: "Buffer of activations", bytes: plan.buffer_bytes },
    { name: "process", label: "Libraries of the process", bytes: plan.process_bytes },
  ];
}

/** "About a third of the file is read" in figures: how often the text is gone through. */
export function formatEpochs({ epochs, dataset_tokens, dataset_counted, dataset_column }: TrainingPlan): string {
  if (epochs === null || dataset_tokens === null) return `unknown number of tokens in the column ${dataset_column}`;
  const size = `${dataset_counted ? "" : "≈ "}${formatTokens(dataset_tokens)} in the column ${dataset_column}`;
  if (epochs <= 1) return `${size}, of which ${Math.max(1, Math.round(epochs * 100))} % are read`;
  return `${size}, read ${epochs < 10 ? epochs.toPrecision(2) : Math.round(epochs).toLocaleString("en")} times`;
}

/** The lines that run the model and its SAE together. */
export function notebookLines(training: Training): string {
  const load = [
    JSON.stringify(training.model_name),
    ...(training.quantization === "none" ? [] : [`quantization="${training.quantization}"`]),
    `revision=${JSON.stringify(training.commit)}`,
    ...(training.dtype === "auto" ? [] : [`dtype="${training.dtype}"`]),
  ];
  return [
    "import modelyard",
    "import torch",
    "from sae_lens import SAE",
    "",
    `model, tokenizer = modelyard.load(${load.join(", ")})`,
    `sae = SAE.load_from_disk(${JSON.stringify(training.output_path ?? "")}).to(model.device)`,
    "",
    "seen = {}",
    `hook = model.get_submodule(${JSON.stringify(training.hook_point)}).register_forward_hook(`,
    "    lambda module, inputs, output: seen.update(hidden=output[0] if isinstance(output, tuple) else output)",
    ")",
    "# As it was trained: after the beginning of a context, which it has not seen itself.",
    `begin = ${beginningCode(training)}`,
    'ids = begin + tokenizer("The quick brown fox jumps", add_special_tokens=False).input_ids',
    "with torch.no_grad():",
    "    model(torch.tensor([ids], device=model.device))",
    '    features = sae.encode(seen["hidden"][:, len(begin):].float())',
    "hook.remove()",
    `print(features.shape)  # (1, tokens, ${training.d_sae})`,
  ].join("\n");
}

/** A run of an earlier version does not say which token it began with. */
function beginningCode({ beginning }: Training): string {
  if (beginning === "none") return "[]";
  if (beginning === "auto") return "[tokenizer.bos_token_id] if sae.cfg.metadata.prepend_bos else []";
  return `[tokenizer.convert_tokens_to_ids(${JSON.stringify(beginning)})]`;
}

/** What every context of a run begins with. */
export function contextStartLabel(plan: Partial<TrainingPlan>, asked: string): string | null {
  // A plan of an earlier version tells neither.
  const { beginning_token, beginning_tokens } = plan;
  if (beginning_token === null || beginning_token === undefined)
    return asked === "none" || (beginning_tokens?.length ?? 0) > 0 ? "the text itself" : null;
  return asked === "auto" ? `${beginning_token}, the tokenizer's own` : beginning_token;
}

/** A run by what tells it from others. */
export function runName(training: Pick<Training, "model_name" | "hook_point">): string {
  return `${training.model_name.split("/").at(-1) ?? training.model_name}, ${training.hook_point}`;
}

export function saeFigures({ architecture, d_sae, k, l1_coefficient }: Training): string[] {
  return [
    ARCHITECTURE_LABEL[architecture].split(",")[0] ?? "",
    `${d_sae.toLocaleString("en")} features`,
    k === null ? `L1 ${l1_coefficient ?? 1}` : `k ${k}`,
  ];
}

/** Memory of a model as its row tells it, with how it is known. */
export function modelMemory(model: Model): { bytes: number | null; how: string } {
  const { memory_measured_bytes: measured, memory_estimated_bytes: estimated, memory_method: method } = model;
  if (measured !== null) return { bytes: measured, how: "measured" };
  return { bytes: estimated, how: method === "exact" ? "exact" : "estimated" };
}

export function reasonSentences(reasons: { message: string }[]): string[] {
  return reasons.map(({ message }) => sentence(message));
}
