import { Button } from "@mantine/core";
import { Ban, Pause, Play, RotateCcw } from "lucide-react";
import type { ModelAction } from "../../../api/models";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import type { Model, ModelStatus } from "../../../types/model";

const ACTIONS: Partial<Record<ModelStatus, [label: string, icon: typeof Ban, action: ModelAction]>> = {
  pending: ["Pause", Pause, "pause"],
  downloading: ["Pause", Pause, "pause"],
  paused: ["Resume", Play, "resume"],
  quantizing: ["Cancel", Ban, "cancel"],
  failed: ["Retry", RotateCcw, "resume"],
  cancelled: ["Download again", RotateCcw, "resume"],
  missing: ["Download again", RotateCcw, "resume"],
};

function labelOf({ status, error, restarts_with }: Model, word: string): string {
  // The error names the file; those that are whole stay.
  if (status === "failed") return error?.code === "checksum_mismatch" ? "Download that file again" : word;
  if (restarts_with === "merge") return "Merge again";
  return restarts_with === "quantize" ? "Quantize again" : word;
}

interface Props {
  model: Model;
  busy: boolean;
  onAction: (model: Model, action: ModelAction) => void;
  size?: "compact-sm" | "xs";
  variant?: "default" | "filled";
}

/** The next step of a model that is not ready; nothing for one that is, or that is being deleted. */
export function WorkAction({ model, busy, onAction, size = "compact-sm", variant = "default" }: Props) {
  const away = useOfflineReason();
  const found = ACTIONS[model.status];
  if (found === undefined) return null;
  const [word, Icon, action] = found;
  // To pause is wanted most when things go wrong, and its failure says so.
  const why = action === "pause" ? undefined : away;
  const label = labelOf(model, word);
  return (
    <Button
      size={size}
      variant={variant}
      leftSection={<Icon size={14} aria-hidden />}
      disabled={busy || why !== undefined}
      title={why}
      onClick={() => onAction(model, action)}
      aria-label={`${label} ${model.name}`}
    >
      {label}
    </Button>
  );
}
