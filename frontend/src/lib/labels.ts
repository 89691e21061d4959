import type { Access, Dtype, Model, ModelStatus, Progress, Quantization, Verdict } from "../types/model";
import type { PendingOp } from "../types/feed";
import { formatDuration } from "./bytes";

export const STATUS_LABEL: Record<ModelStatus, string> = {
  pending: "Waiting",
  downloading: "Downloading",
  paused: "Paused",
  quantizing: "Quantizing",
  ready: "Ready",
  failed: "Failed",
  cancelled: "Cancelled",
  missing: "Files missing",
  deleting: "Deleting",
};

export const QUANTIZATION_LABEL: Record<Quantization, string> = {
  none: "Full precision",
  "8bit": "8-bit",
  "4bit": "4-bit",
};

/** What weights are loaded in. */
export const DTYPE_LABEL: Record<Dtype, string> = {
  auto: "Model's dtype",
  float32: "float32",
  bfloat16: "bfloat16",
  float16: "float16",
};

/** A model's precision in full: "Full precision, bfloat16", "4-bit". */
export function precisionLabel({ quantization, dtype }: Pick<Model, "quantization" | "dtype">): string {
  const word = QUANTIZATION_LABEL[quantization];
  return quantization === "none" && dtype !== null ? `${word}, ${dtype}` : word;
}

export const ACCESS_LABEL: Record<Access, string> = {
  open: "Open to everyone",
  accepted: "Gated; your account has access",
  needs_acceptance: "Gated; the terms are not accepted yet",
  no_token: "Gated; no Hub token is set",
  token_invalid: "The Hub refuses the stored token",
  unknown: "Unknown",
};

export const VERDICT_LABEL: Record<Verdict, string> = {
  fits: "fits",
  tight: "tight",
  does_not_fit: "does not fit",
  unknown: "unknown",
};

/** Statuses with a job under way or waiting: they belong in the downloads tray. */
export function isActive(status: ModelStatus): boolean {
  return status === "pending" || status === "downloading" || status === "quantizing" || status === "paused";
}

/** Whether it can be deleted; work under way is cancelled instead. */
export function isDeletable({ status }: Pick<Model, "status">): boolean {
  return !isActive(status) && status !== "deleting";
}

type State = Pick<Model, "status" | "error">;

/** The status as a word; of a row that the server paused, with the reason. */
export function statusLabel({ status, error }: State): string {
  const word = STATUS_LABEL[status];
  return status === "paused" && error !== null ? `${word}: ${error.code.replaceAll("_", " ")}` : word;
}

/** Whether work stopped because a disk is full or may not be used; the server resumes it once that is mended. */
export function waitsForDisk({ status, error }: State): boolean {
  return status === "paused" && (error?.code === "disk_full" || error?.code === "storage_denied");
}

const WAITING_LABEL = "Waiting for a worker";

/** What the job is doing now, in words; falls back to the status when there is no progress yet. */
export function phaseLabel(row: State, progress: Progress | null): string {
  const { status } = row;
  if (status === "paused") return statusLabel(row);
  if (progress === null) return status === "pending" ? WAITING_LABEL : STATUS_LABEL[status];
  switch (progress.phase) {
    case "resolving":
      // A quantization looks nothing up.
      return status === "quantizing" || progress.waiting ? WAITING_LABEL : "Looking up files";
    case "downloading":
      return downloadingLabel(progress);
    case "verifying":
      return "Verifying hashes";
    case "retrying":
      return sentence(progress.message ?? "retrying");
    case "converting":
      return sentence(`converting: ${progress.message ?? "from GGUF"}`);
    case "merging":
      return sentence(`merging: ${progress.message ?? "an adapter into its base"}`);
    case "quantizing":
      return sentence(progress.message ?? "quantizing");
    case "checking":
      return sentence(progress.message ?? "checking that it loads");
    case "loading":
      return loadingLabel(progress);
  }
}

/** What a load into memory does or waits for. */
export function loadingLabel(progress: Progress): string {
  const step = loadStepLabel(progress);
  return step === null ? "Loading" : `Loading: ${step}`;
}

/** "reading weights 3 of 12"; null where nothing is told. */
export function loadStepLabel({ message, step }: Progress): string | null {
  if (message === null || step?.total == null || step.done === null || /\d/.test(message)) return message;
  return `${message} ${step.done} of ${step.total}`;
}

/** Whether a model that is here is on its way into memory, and whether that was taken back already. */
export function loadState(progress: Progress | null | undefined): "loading" | "stopping" | null {
  if (progress?.phase !== "loading") return null;
  return progress.stopping ? "stopping" : "loading";
}

export const LOAD_LABEL = { loading: "Loading", stopping: "Stopping" } as const;

export function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function downloadingLabel({ files_done, files_total }: Progress): string {
  if (files_total === null || files_total === 0) return "Downloading";
  // The file being fetched counts: the first of five is "1 of 5", not "0 of 5".
  const current = Math.min(files_done + 1, files_total);
  return `Downloading file ${current} of ${files_total}`;
}

/** "3 min left", or nothing while it cannot be known. */
export function formatEta(progress: Progress | null): string {
  return progress === null || progress.eta_seconds === null ? "" : `${formatDuration(progress.eta_seconds)} left`;
}

/** What `from_pretrained` takes for this model: its name, or the folder of a quantized copy, as Python. */
export interface PretrainedSource {
  name: string;
  revision: string | null;
}

/** The Hub that transformers asks where nobody says otherwise; it does not know the models of another one. */
const PUBLIC_HUB = "https://huggingface.co";

export function sourceOf(model: Model): PretrainedSource {
  const elsewhere = model.quantization !== "none" || model.endpoint !== PUBLIC_HUB;
  if (elsewhere && model.snapshot_path !== null) return { name: model.snapshot_path, revision: null };
  return { name: model.model_id, revision: revisionToLoad(model) };
}

/** What names this very model: its branch, or its commit once the branch has moved on; null for the usual branch. */
function revisionToLoad({ revision, commit, update_available, replaced_by }: Model): string | null {
  if (update_available === true || replaced_by !== null) return commit;
  return revision === "main" ? null : revision;
}

export function pythonArguments({ name, revision }: PretrainedSource): string {
  return JSON.stringify(name) + (revision === null ? "" : `, revision=${JSON.stringify(revision)}`);
}

/** The lines that load this model: a quantized copy through Modelyard, which knows where it is. */
export function loadSnippet(model: Model): string {
  if (model.quantization !== "none") {
    const revision = revisionToLoad(model);
    const at = revision === null ? "" : `, revision=${JSON.stringify(revision)}`;
    const call = `${JSON.stringify(model.model_id)}, quantization="${model.quantization}"${at}`;
    return ["import modelyard", `model, tokenizer = modelyard.load(${call})`].join("\n");
  }
  const source = pythonArguments(sourceOf(model));
  const name = classToLoadWith(model);
  if (model.adapter !== null) {
    const base = pythonArguments({ name: model.adapter.base_model, revision: model.adapter.base_revision });
    return [
      "from peft import PeftModel",
      `from transformers import ${[name, "AutoTokenizer"].sort().join(", ")}`,
      "",
      `tokenizer = AutoTokenizer.from_pretrained(${base})`,
      `model = ${name}.from_pretrained(${base}, dtype="auto")`,
      `model = PeftModel.from_pretrained(model, ${source})`,
    ].join("\n");
  }
  return [
    `from transformers import ${[name, "AutoTokenizer"].sort().join(", ")}`,
    "",
    `tokenizer = AutoTokenizer.from_pretrained(${source})`,
    `model = ${name}.from_pretrained(${source}, dtype="auto")`,
  ].join("\n");
}

/** The class of transformers that keeps the model's head: its own, where it is no causal language model. */
export function classToLoadWith({ architecture }: Model): string {
  if (architecture === null || !/^[A-Z]\w*$/.test(architecture)) return "AutoModel";
  return /(ForCausalLM|LMHeadModel)$/.test(architecture) ? "AutoModelForCausalLM" : architecture;
}

export const PENDING_LABEL: Record<PendingOp, string> = {
  pause: "Pausing",
  resume: "Resuming",
  cancel: "Cancelling",
  verify: "Starting verification",
  load: "Loading",
  unload: "Unloading",
  delete: "Deleting",
};
