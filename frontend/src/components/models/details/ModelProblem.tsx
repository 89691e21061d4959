import { formatBytes } from "../../../lib/bytes";
import { statusLabel, waitsForDisk } from "../../../lib/labels";
import { problemOf, type ProblemView } from "../../../lib/problems";
import type { Model } from "../../../types/model";
import { DeleteButton } from "../../common/DeleteButton";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ErrorActions } from "../status/ErrorActions";
import { WorkActions, type WorkProps } from "./ModelActions";

/** What stopped a model or went wrong with it, and the steps that move on. */
export function ModelProblem({ model, busy, onAction }: WorkProps) {
  // A row that stopped keeps its alert, with the button that was pressed in it, until the row itself changes.
  const problem = !busy || model.status !== "ready" ? problemOf(model) : null;
  if (problem === null) return null;
  return (
    <ProblemAlert
      title={whatFailed(model)}
      problem={withKept(model, problem)}
      tone={waitsForDisk(model) ? "warn" : "bad"}
    >
      {/* To go on comes first, save where it has to wait for the other steps. */}
      {waitsForDisk(model) && <ErrorActions model={model} />}
      {model.status !== "ready" && <WorkActions model={model} busy={busy} onAction={onAction} />}
      {model.status === "missing" && (
        <DeleteButton size="xs" disabled={busy} onClick={() => onAction(model, "delete")} />
      )}
      {!waitsForDisk(model) && <ErrorActions model={model} onQuantize={() => onAction(model, "quantize-4bit")} />}
    </ProblemAlert>
  );
}

const WENT_WRONG: Record<string, string> = {
  load: "Loading failed",
  unload: "Unloading failed",
  generate: "Generation failed",
};

const STOPPED: Record<NonNullable<Model["restarts_with"]>, string> = {
  download: "The download failed",
  verify: "The verification failed",
  import: "The import failed",
  quantize: "The quantization failed",
  merge: "The merge failed",
};

/** What stopped a row; a ready one is still ready, and only its last use went wrong. */
function whatFailed(model: Model): string {
  if (model.status === "missing") return "Files are missing";
  if (model.status === "paused") return statusLabel(model);
  if (model.status !== "ready") return STOPPED[model.restarts_with ?? "download"];
  return WENT_WRONG[model.error?.during ?? ""] ?? "Something went wrong";
}

/** What was fetched before a row stopped is not fetched again. */
function withKept({ status, disk_bytes }: Model, problem: ProblemView): ProblemView {
  if ((status !== "failed" && status !== "paused") || disk_bytes === 0) return problem;
  return { ...problem, message: `${problem.message} The ${formatBytes(disk_bytes)} on the disk are kept.` };
}
