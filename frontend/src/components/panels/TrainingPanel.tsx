import { Button, Stack, Title } from "@mantine/core";
import { CircleAlert, Plus } from "lucide-react";
import { Link } from "react-router";
import { useModelList } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import { useTrainings } from "../../hooks/useTrainings";
import { formatWhen } from "../../lib/dates";
import { fromRow } from "../../lib/problems";
import { runName, saeFigures, formatTokens } from "../../lib/training";
import { useModelsStore } from "../../stores/modelsStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training } from "../../types/training";
import { EmptyState } from "../common/EmptyState";
import { FactLine } from "../common/FactLine";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { EngineMissing } from "../training/EngineMissing";
import { MetricsLine, RunActions, RunTitle, TrainingProgressLine } from "../training/RunState";
import { TrainingPage } from "../training/TrainingPage";
import classes from "./TrainingPanel.module.css";

/** Every training run, in the order of `useTrainings`. */
export default function TrainingPanel() {
  useTitle("Training");
  const runs = useTrainings();
  const load = useTrainingsStore((state) => state.load);
  const { fetchTrainings } = useTrainingsStore.getState();
  return (
    <TrainingPage>
      <div className={classes.head}>
        <Title order={1}>Training</Title>
        {(runs.length > 0 || load.state !== "ready") && (
          <Button component={Link} to="/training/new" leftSection={<Plus size={16} aria-hidden />}>
            Train an SAE
          </Button>
        )}
      </div>
      <Stack gap="md">
        <EngineMissing />
        {load.state === "error" && (
          <ProblemAlert
            title={
              // Those under way are told by the feed.
              runs.length > 0
                ? "Could not load the finished runs; running ones are below"
                : "Could not load the training runs"
            }
            problem={load.error ?? { code: "", message: "", hint: null }}
          >
            <TryAgain onClick={() => void fetchTrainings()} />
          </ProblemAlert>
        )}
        {runs.length > 0 ? (
          <ul className={classes.runs} aria-label="Training runs">
            {runs.map((training) => (
              <Run key={training.id} training={training} />
            ))}
          </ul>
        ) : load.state === "ready" ? (
          <NoRuns />
        ) : null}
        {(load.state === "idle" || load.state === "loading") && (
          // Below those that the feed has told already.
          <Placeholder h={96} label="Loading the training runs" />
        )}
      </Stack>
    </TrainingPage>
  );
}

function NoRuns() {
  const known = useModelsStore((state) => state.load.state === "ready");
  const ready = useModelList().some(({ status }) => status === "ready");
  const lacking = known && !ready;
  return (
    <EmptyState
      title="No training run yet"
      action={
        <Button component={Link} to={lacking ? "/models?view=hub" : "/training/new"}>
          {lacking ? "Get a model" : "Train an SAE"}
        </Button>
      }
    >
      Choose a ready model, a hook point and a text file. A sparse autoencoder learns features of the activations there.
      {lacking && " No model is ready yet."}
    </EmptyState>
  );
}

function Run({ training }: { training: Training }) {
  const { status, error } = training;
  return (
    <li className={classes.run} data-status={status}>
      <div>
        <RunTitle training={training}>
          <h2>
            <Link to={`/training/${training.id}`}>{runName(training)}</Link>
          </h2>
        </RunTitle>
        <FactLine
          facts={[
            ...saeFigures(training),
            formatTokens(training.training_tokens),
            `requested ${formatWhen(training.created_at)}`,
          ]}
        />
      </div>
      <div>
        {status !== "completed" && <TrainingProgressLine training={training} />}
        {error !== null && (
          <p className={classes.error}>
            <CircleAlert size={12} aria-hidden />
            <span>{fromRow(error).message}</span>
          </p>
        )}
        <MetricsLine training={training} />
      </div>
      <div className={classes.actions}>
        <RunActions training={training} compact />
      </div>
    </li>
  );
}
