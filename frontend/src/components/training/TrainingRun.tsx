import { Anchor, Button, Group, Modal, Stack, Text, Title } from "@mantine/core";
import { CopyPlus } from "lucide-react";
import { Suspense, useState } from "react";
import { Link, useParams } from "react-router";
import { useCurve } from "../../hooks/useCurve";
import { useTitle } from "../../hooks/useTitle";
import { useSaes } from "../../hooks/useSaes";
import { useTraining } from "../../hooks/useTrainings";
import { formatBytes } from "../../lib/bytes";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { fromRow } from "../../lib/problems";
import { isRunning, metricName, metricsOf, metricValue, notebookLines, runName } from "../../lib/training";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training } from "../../types/training";
import { CopyText } from "../common/CopyText";
import { DeleteButton } from "../common/DeleteButton";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TryAgain } from "../common/TryAgain";
import { RunLog } from "./RunLog";
import { RunActions, RunTitle, TrainingProgressLine } from "./RunState";
import { TrainingPage } from "./TrainingPage";
import { NotebookCode } from "./NotebookCode";
import classes from "./TrainingRun.module.css";
import { DeleteRun } from "./DeleteRun";
import { SaeFigures } from "./SaeFigures";
import { Configuration } from "./Configuration";

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
      <TrainingPage>
        <div className={classes.head}>
          <AllRuns />
          <Title order={1} className={classes.title}>
            Training run
          </Title>
        </div>
        {load.state === "error" ? (
          <ProblemAlert title="Could not load the run" problem={load.error ?? { code: "", message: "", hint: null }}>
            <TryAgain onClick={() => void fetchTrainings()} />
          </ProblemAlert>
        ) : (
          <Placeholder h={240} label="Loading the run" />
        )}
      </TrainingPage>
    );
  return (
    <EmptyState
      title="Run not found"
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
  const leaves = useTrainingsStore((state) => state.pending[training.id] === "delete");
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
    <TrainingPage>
      <div className={classes.head}>
        <AllRuns />
        <div className={classes.title}>
          <RunTitle training={training}>
            <Title order={1}>{runName(training)}</Title>
          </RunTitle>
        </div>
        <Group gap="xs">
          <RunActions training={training} />
          {!isRunning(status) && error === null && again}
          {!isRunning(status) && <DeleteButton disabled={leaves} onClick={() => setAsking(true)} />}
        </Group>
      </div>
      <Stack gap="md">
        {error !== null && (
          <ProblemAlert
            title={status === "pending" ? "It resumes when the disk is available" : "It did not finish"}
            problem={fromRow(error)}
            tone={status === "pending" ? "warn" : undefined}
          >
            <Stack gap="xs" align="flex-start">
              {training.resumable && (
                <Text size="sm">Resume continues from the last checkpoint, or from the start if there is none.</Text>
              )}
              {!isRunning(status) && again}
            </Stack>
          </ProblemAlert>
        )}
        <Section label="Progress" title={null}>
          <Stack gap="md">
            <TrainingProgressLine training={training} />
            <Metrics training={training} />
          </Stack>
        </Section>
        {training.output_path !== null && <Result training={training} path={training.output_path} />}
        {training.output_path !== null && <Judgement id={id} />}
        <Curves training={training} />
        <Configuration training={training} />
        <RunLog training={training} />
      </Stack>
      <Modal opened={asking} onClose={() => setAsking(false)} title={`Delete ${runName(training)}`}>
        <DeleteRun training={training} onClose={() => setAsking(false)} />
      </Modal>
    </TrainingPage>
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
    <Section label="Curves" title="Curves over the tokens trained">
      {problem !== null && (
        <ProblemAlert title="The curve is not available" problem={problem} tone="warn">
          <TryAgain onClick={retry} />
        </ProblemAlert>
      )}
      {points === null && problem === null && <Placeholder h={180} label="Loading the curves" />}
      {points !== null && points.length === 0 && (
        <Text size="sm" c="dimmed">
          {isRunning(training.status) ? "Curves appear with the first training steps." : "No step was trained."}
        </Text>
      )}
      {points !== null && points.length > 0 && (
        <Suspense fallback={<Placeholder h={180} label="Loading the plots" />}>
          <MetricPlots points={points} />
        </Suspense>
      )}
    </Section>
  );
}

/** How well the SAE of a completed run does on a text; its own page evaluates it. */
function Judgement({ id }: { id: string }) {
  const sae = useSaes().data?.find(({ training_id }) => training_id === id);
  if (sae === undefined) return null;
  return (
    <Section label="Evaluation">
      {sae.evaluation !== null && <SaeFigures evaluation={sae.evaluation} />}
      <Button component={Link} to={`/training/saes/${sae.id}`} variant="default" size="xs" mt="sm">
        {sae.evaluation === null ? "Evaluate the SAE" : "Open the SAE"}
      </Button>
    </Section>
  );
}

function Result({ training, path }: { training: Training; path: string }) {
  const lines = notebookLines(training);
  return (
    <Section label="Result">
      <Stack gap="sm">
        <div>
          <CopyText text={path} label="folder of the SAE" wrap />
          <Text size="sm" c="dimmed" className="num">
            {formatBytes(training.plan.output_bytes)}, in SAELens's format.
            {training.architecture === "batchtopk" && " A BatchTopK SAE is saved as the JumpReLU it becomes."}
          </Text>
        </div>
        <NotebookCode lines={lines} />
      </Stack>
    </Section>
  );
}
