import type { Sae, SaeEvaluation, SaeWork } from "../types/sae";
import { formatBytes, formatCount, fraction } from "./bytes";

export const SOURCE_LABEL: Record<Sae["source"], string> = {
  trained: "Trained here",
  imported: "Imported",
  hub: "From a Hub",
};

const WORK_LABEL: Record<SaeWork["kind"], string> = {
  download: "Downloading",
  evaluate: "Evaluating",
  features: "Looking for features",
};

export interface Figure {
  name: string;
  value: string;
  /** What it means, where the name does not say it. */
  note?: string;
}

export function isAtWork(sae: Sae): boolean {
  return sae.work !== null && ["waiting", "running", "stopping"].includes(sae.work.state);
}

/** What is being done, in a word. */
export function workLabel(work: SaeWork): string {
  if (work.state === "waiting") return "Waiting for a worker";
  return work.state === "stopping" ? "Stopping" : WORK_LABEL[work.kind];
}

/** From 0 to 1; null where it is not known. */
export function workShare({ done, total }: SaeWork): number | null {
  return fraction(done, total);
}

export function workFigures(work: SaeWork): string[] {
  if (work.total === null) return [];
  if (work.kind === "download") return [`${formatBytes(work.done)} of ${formatBytes(work.total)}`];
  return [`${formatCount(work.done)} of ${formatCount(work.total)} tokens`];
}

const decimal = (value: number | null, digits = 3) => (value === null ? "unknown" : value.toFixed(digits));
export const percent = (value: number | null) => (value === null ? "unknown" : `${(100 * value).toFixed(1)} %`);

/** The figures of an evaluation, the ones to judge by first. */
export function figuresOf(found: SaeEvaluation): Figure[] {
  return [
    { name: "Explained variance", value: decimal(found.explained_variance_per_token), note: "mean over the tokens" },
    { name: "Loss recovered", value: percent(found.loss_recovered), note: "of what zeros would cost" },
    { name: "L0", value: decimal(found.l0, 1), note: "features active per token" },
    { name: "Never active", value: found.dead_features.toLocaleString("en"), note: "features, on this text" },
    { name: "Dense", value: found.dense_features.toLocaleString("en"), note: "active on over 10 % of tokens" },
    { name: "Explained variance, pooled", value: decimal(found.explained_variance) },
    { name: "Cosine", value: decimal(found.cosine) },
    { name: "Shrinkage", value: decimal(found.shrinkage), note: "norm of the reconstruction" },
    { name: "Loss", value: decimal(found.ce_clean), note: "nats per token" },
    { name: "Loss, reconstructed", value: decimal(found.ce_reconstructed) },
    { name: "Loss, zeros", value: decimal(found.ce_zero) },
  ];
}

/** What an evaluation read. */
export function judgedOn(found: SaeEvaluation): string {
  const rows = found.held_out ? " of rows that training kept back" : "";
  return `${found.tokens.toLocaleString("en")} tokens${rows}, ${found.dataset.path.split("/").pop() ?? ""}`;
}

/** Lines for a notebook. */
export function saeNotebook(sae: Sae): string {
  return [
    "from sae_lens import SAE",
    "",
    `sae = SAE.load_from_disk(${JSON.stringify(sae.folder)})`,
    "# features = sae.encode(activations)  # of " + (sae.hook_point ?? "its hook point"),
    "# reconstruction = sae.decode(features)",
  ].join("\n");
}

/** A share of tokens in percent, however small: 12 %, 0.31 %, 0.0002 %. */
export function formatShare(share: number): string {
  if (share === 0) return "0 %";
  return `${Number((100 * share).toPrecision(2)).toLocaleString("en", { maximumFractionDigits: 8 })} %`;
}

/** An activation with three digits. */
export function formatActivation(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 8 });
}
