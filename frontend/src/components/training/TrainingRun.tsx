import { Anchor, Button, Group, Modal, Stack, Text, Title } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { Check, Copy, CopyPlus, Trash2 } from "lucide-react";
import { Suspense, useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { useCurve } from "../../hooks/useCurve";
import { useModel } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import { useTraining } from "../../hooks/useTrainings";
import { formatBytes, formatDuration } from "../../lib/bytes";
import { formatWhen } from "../../lib/dates";
import { deviceLabel } from "../../lib/fit";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { type ProblemView, fromRow, toProblem } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import {
  ARCHITECTURE_LABEL,
  isRunning,
  contextStartLabel,
  metricName,
  metricsOf,
  metricValue,
  notebookLines,
  runName,
} from "../../lib/training";
import { precisionLabel } from "../../lib/labels";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training } from "../../types/training";
import { CopyText } from "../common/CopyText";
import { DialogButtons } from "../common/DialogButtons";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { RunLog } from "./RunLog";
import { RunActions, RunPrecision, TrainingPill, TrainingProgressLine } from "./RunState";
import classes from "./training.module.css";

const MetricPlots = lazyWithRetry(() => import("./MetricPlots"));

/** One run at its own address. */
export default function TrainingRun() {
  const { id = "" } = useParams();
  const { training, load } = useTraining(id);
  const { fetchTrainings } = useTrainingsStore.getState();
  useTitle(training === undefined ? "Training run" : runName(training));
  if (training !== undefined) return <Run key={id} training={training} />;
  if (load.state !== "ready")
    return (
      <div className={classes.page}>
        <div className={classes.runHead}>
          <AllRuns />
          <div className={classes.titles}>
            <Title order={1}>Training run</Title>
          </div>
        </div>
        {load.state === "error" ? (
          <ProblemAlert title="The run could not be read" problem={load.error ?? { code: "", message: "", hint: null }}>
            <TryAgain onClick={() => void fetchTrainings()} />
          </ProblemAlert>
        ) : (
          <Placeholder h={240} label="Loading the run" />
        )}
      </div>
    );
  return (
    <EmptyState
      title="This run is not here any more"
      order={1}
      action={
        <Button variant="default" component={Link} to="/training">
          All training runs
        </Button>
      }
    >
      It was deleted, or the address belongs to another server.
    </EmptyState>
  );
}

function AllRuns() {
  return (
    <Anchor component={Link} to="/training" size="sm">
      Training
    </Anchor>
  );
}

function Run({ training }: { training: Training }) {
  const [asking, setAsking] = useState(false);
  const { id, status, error } = training;
  const again = (
    <Button
      variant="default"
      component={Link}
      to={`/training/new?from=${id}`}
      leftSection={<CopyPlus size={14} aria-hidden />}
    >
      New run from this…
    </Button>
  );
  return (
    <div className={classes.page}>
      <div className={classes.runHead}>
        <AllRuns />
        <div className={classes.titles}>
          <Title order={1}>{runName(training)}</Title>
          <RunPrecision training={training} />
          <TrainingPill status={status} />
        </div>
        <Group gap="xs">
          <RunActions training={training} />
          {!isRunning(status) && error === null && again}
          {!isRunning(status) && (
            <Button
              color="red"
              variant="subtle"
              leftSection={<Trash2 size={14} aria-hidden />}
              onClick={() => setAsking(true)}
            >
              Delete…
            </Button>
          )}
        </Group>
      </div>
      <div className={classes.stack}>
        {error !== null && (
          <ProblemAlert
            title={status === "pending" ? "It goes on by itself once the disk is mended" : "It did not finish"}
            problem={fromRow(error)}
            tone={status === "pending" ? "warn" : undefined}
          >
            <Stack gap="xs" align="flex-start">
              {training.resumable && (
                <Text size="sm">
                  Resume goes on with the same settings, from its last checkpoint or from the start if there is none.
                </Text>
              )}
              {!isRunning(status) && again}
            </Stack>
          </ProblemAlert>
        )}
        <section className={classes.section} aria-label="Progress">
          <Stack gap="md">
            <TrainingProgressLine training={training} />
            <Metrics training={training} />
          </Stack>
        </section>
        {training.output_path !== null && <Result training={training} path={training.output_path} />}
        <Curves training={training} />
        <Configuration training={training} />
        <RunLog training={training} />
      </div>
      <Modal
        opened={asking}
        onClose={() => setAsking(false)}
        title={`Delete ${runName(training)}`}
        classNames={{ title: classes.question }}
      >
        <DeleteRun training={training} onClose={() => setAsking(false)} />
      </Modal>
    </div>
  );
}

function Metrics({ training }: { training: Training }) {
  if (training.metrics === null) return null;
  return (
    <dl className={`${classes.metrics} num`}>
      {metricsOf(training.metrics).map((metric) => (
        <div key={metric.field}>
          <dt>{metricName(metric)}</dt>
          <dd>{metricValue(training, metric)}</dd>
        </div>
      ))}
    </dl>
  );
}

function Curves({ training }: { training: Training }) {
  const { value: points, problem, retry } = useCurve(training);
  return (
    <section className={classes.section} aria-label="Curves">
      <Title order={2}>Curves over the tokens trained</Title>
      {problem !== null && (
        <ProblemAlert title="The curve is not available" problem={problem} tone="warn">
          <TryAgain onClick={retry} />
        </ProblemAlert>
      )}
      {points === null && problem === null && <Placeholder h={180} label="Loading the curves" />}
      {points !== null && points.length === 0 && (
        <Text size="sm" c="dimmed">
          {isRunning(training.status) ? "They begin with the first training steps." : "No step was trained."}
        </Text>
      )}
      {points !== null && points.length > 0 && (
        <Suspense fallback={<Placeholder h={180} label="Loading the plots" />}>
          <MetricPlots points={points} />
        </Suspense>
      )}
    </section>
  );
}

function Result({ training, path }: { training: Training; path: string }) {
  const clipboard = useClipboard({ timeout: 1500 });
  const lines = notebookLines(training);
  const Icon = clipboard.copied ? Check : Copy;
  return (
    <section className={classes.section} aria-label="Result">
      <Title order={2}>Result</Title>
      <Stack gap="sm">
        <div>
          <CopyText text={path} label="folder of the SAE">
            {/* Its end tells runs apart. */}
            <span className={classes.path}>{path}</span>
          </CopyText>
          <Text size="sm" c="dimmed" className="num">
            {formatBytes(training.plan.output_bytes)}, in SAELens's format.
            {training.architecture === "batchtopk" && " A BatchTopK SAE is saved as the JumpReLU it becomes."}
          </Text>
        </div>
        <Group justify="space-between" gap="xs">
          <Text fw={620} size="sm">
            Use it in a notebook
          </Text>
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<Icon size={13} aria-hidden />}
            onClick={() => clipboard.copy(lines)}
          >
            {clipboard.copied ? "Copied" : "Copy code"}
          </Button>
        </Group>
        <pre className={classes.code} tabIndex={0} role="group" aria-label="Code for a notebook">
          {lines}
        </pre>
      </Stack>
    </section>
  );
}

function Configuration({ training }: { training: Training }) {
  const model = useModel(training.model_id ?? "");
  const rows: [string, React.ReactNode][] = [
    [
      "Model",
      model === undefined ? (
        <span className="mono">{training.model_name}</span>
      ) : (
        <Anchor component={Link} to={`/models/${model.id}`} className="mono">
          {training.model_name}
        </Anchor>
      ),
    ],
    [
      "Precision",
      precisionLabel({
        quantization: training.quantization,
        dtype: training.dtype === "auto" ? (model?.dtype ?? null) : training.dtype,
      }),
    ],
    ["Commit", <CopyText key="commit" text={training.commit} label="commit" />],
    ["Hook point", <CopyText key="hook" text={training.hook_point} label="hook point" />],
    ["Text", <CopyText key="data" text={training.dataset.path} label="path of the text" />],
    [
      "Column",
      <span key="column" className="mono">
        {training.dataset.column}
      </span>,
    ],
    ["Architecture", ARCHITECTURE_LABEL[training.architecture]],
    [
      "Width",
      `${training.d_in.toLocaleString("en")} → ${training.d_sae.toLocaleString("en")} (× ${training.expansion_factor})`,
    ],
    training.k === null ? ["L1 coefficient", training.l1_coefficient] : ["k", training.k],
    ["Tokens", training.training_tokens.toLocaleString("en")],
    ["Context", `${training.context_size.toLocaleString("en")} tokens`],
    ["Begins with", contextStartLabel(training.plan, training.beginning)],
    ["Left out", `${training.skip_positions} positions at the beginning of every context`],
    ["Batch", `${training.batch_tokens.toLocaleString("en")} tokens`],
    ["Learning rate", training.learning_rate],
    ["Seed", training.seed],
    [
      "Device",
      training.device === "auto" ? `automatic: ${deviceLabel(training.plan.device)}` : deviceLabel(training.device),
    ],
    ["Checkpoint", `every ${formatDuration(training.checkpoint_seconds)}`],
    ["Memory, planned", formatBytes(training.plan.total_bytes)],
    ["Engine", training.engine],
    ["Requested", formatWhen(training.created_at)],
    ["First start to end", duration(training)],
  ];
  return (
    <section className={classes.section} aria-label="Configuration">
      <Title order={2}>Configuration</Title>
      <dl className={`${classes.facts} ${classes.twice} num`}>
        {rows
          .filter(([, value]) => value !== null)
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

function duration({ started_at, finished_at }: Training): string | null {
  if (started_at === null || finished_at === null) return null;
  return formatDuration((Date.parse(finished_at) - Date.parse(started_at)) / 1000);
}

function DeleteRun({ training, onClose }: { training: Training; onClose: () => void }) {
  const navigate = useNavigate();
  const remove = useTrainingsStore((state) => state.remove);
  const busy = useTrainingsStore((state) => state.pending[training.id] === "delete");
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const finished = training.output_path !== null;

  async function confirm() {
    try {
      const freed = await remove(training.id);
      toastDone(`${runName(training)} deleted`, `${formatBytes(freed)} freed.`);
      void navigate("/training");
    } catch (error) {
      setProblem(toProblem(error));
    }
  }

  return (
    <Stack>
      <Text>
        {finished
          ? "The trained SAE, its curves and its log are removed. The model and the text stay."
          : "Its checkpoint, its curves and its log are removed; it cannot be resumed any more. The model and the text stay."}
      </Text>
      {problem !== null && <ProblemAlert title="Nothing was deleted" problem={problem} />}
      <DialogButtons>
        <Button variant="default" onClick={onClose} data-autofocus>
          Keep it
        </Button>
        <Button color="red" loading={busy} onClick={() => void confirm()}>
          {/* What a checkpoint takes is known only once it is gone. */}
          {finished ? `Delete and free ${formatBytes(training.plan.output_bytes)}` : "Delete"}
        </Button>
      </DialogButtons>
    </Stack>
  );
}
