import { Button } from "@mantine/core";
import {
  Activity,
  CheckCircle2,
  CircleAlert,
  CircleSlash,
  Clock,
  type LucideIcon,
  Play,
  Save,
  Square,
  Trash2,
} from "lucide-react";
import { useConn, useModel } from "../../hooks/useModels";
import { fraction } from "../../lib/bytes";
import {
  metricsOf,
  metricValue,
  progressFigures,
  runName,
  TRAINING_STATUS_LABEL,
  trainingPhaseLabel,
} from "../../lib/training";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training, TrainingStatus } from "../../types/training";
import { FactLine } from "../common/FactLine";
import { JobProgress } from "../common/JobProgress";
import { Pill, type Tone } from "../common/Pill";
import { PrecisionBadge } from "../common/PrecisionBadge";
import classes from "./RunState.module.css";

const ICON: Record<TrainingStatus, LucideIcon> = {
  pending: Clock,
  running: Activity,
  cancelling: Save,
  cancelled: CircleSlash,
  failed: CircleAlert,
  completed: CheckCircle2,
};

const TONE: Record<TrainingStatus, Tone> = {
  pending: "active",
  running: "active",
  cancelling: "active",
  cancelled: "neutral",
  failed: "neutral",
  completed: "good",
};

function TrainingPill({ training: { id, status } }: { training: Training }) {
  const leaves = useTrainingsStore((state) => state.pending[id] === "delete");
  if (leaves)
    return (
      <Pill icon={Trash2} tone="neutral">
        Deleting
      </Pill>
    );
  return (
    <Pill icon={ICON[status]} tone={TONE[status]}>
      {TRAINING_STATUS_LABEL[status]}
    </Pill>
  );
}

/** A run's name, as a heading of the page it stands on, with its precision and state. */
export function RunTitle({ training, children }: { training: Training; children: React.ReactNode }) {
  return (
    <div className={classes.title}>
      {children}
      <RunPrecision training={training} />
      <TrainingPill training={training} />
    </div>
  );
}

/** The precision of what is trained on; as stored, which the model's row tells while it is there. */
function RunPrecision({ training: { model_id, quantization, dtype } }: { training: Training }) {
  const stored = useModel(model_id ?? "")?.dtype;
  return <PrecisionBadge quantization={quantization} dtype={dtype === "auto" ? stored : dtype} />;
}

/** A run as facts: its phase, a bar, tokens, rate and time left. */
export function TrainingProgressLine({ training }: { training: Training }) {
  const { tokens_done, tokens_total } = training.progress;
  const share = fraction(tokens_done, tokens_total) ?? 0;
  const stale = useConn() === "stale";
  // Until the first step, which may take minutes, 0 % would say that something is stuck.
  const begun = tokens_done > 0 || training.status !== "running";
  const behind = useTrainingsStore(({ byId }) => Object.values(byId).some((run) => run.status === "running"));
  const words = trainingPhaseLabel(training, behind);
  const phase = stale ? `${words} (last known)` : words;
  return (
    <JobProgress
      name={runName(training)}
      phase={phase}
      share={share}
      unknown={!begun}
      figures={progressFigures(training, stale)}
      tone={training.status !== "running" || stale ? "still" : "active"}
    />
  );
}

/** One figure of a name. */
function shortMetrics(metrics: NonNullable<Training["metrics"]>) {
  return metricsOf(metrics).filter(({ field }) => field !== "explained_variance_per_token");
}

/** The last figures, in a line. */
export function MetricsLine({ training }: { training: Training }) {
  if (training.metrics === null) return null;
  return (
    <FactLine
      facts={shortMetrics(training.metrics).map((metric) => ({
        key: metric.field,
        content: (
          <>
            {metric.name} <strong>{metricValue(training, metric)}</strong>
          </>
        ),
      }))}
    />
  );
}

/** Cancel while it runs; go on where it stopped. */
export function RunActions({ training, compact = false }: { training: Training; compact?: boolean }) {
  const pending = useTrainingsStore((state) => state.pending[training.id]);
  const { act } = useTrainingsStore.getState();
  const size = compact ? "compact-sm" : "sm";
  const name = runName(training);
  if (training.status === "pending" || training.status === "running")
    return (
      <Button
        size={size}
        variant="default"
        leftSection={<Square size={13} fill="currentColor" aria-hidden />}
        disabled={pending !== undefined}
        aria-label={`Cancel ${name}`}
        onClick={() => void act(training, "cancel")}
      >
        {pending === "cancel" ? "Cancelling" : "Cancel"}
      </Button>
    );
  if (!training.resumable) return null;
  return (
    <Button
      size={size}
      variant="default"
      leftSection={<Play size={13} aria-hidden />}
      disabled={pending !== undefined}
      aria-label={`Resume ${name}`}
      onClick={() => void act(training, "resume")}
    >
      {pending === "resume" ? "Resuming" : "Resume"}
    </Button>
  );
}
