import { Button, Skeleton, Title } from "@mantine/core";
import { Plus } from "lucide-react";
import { Link } from "react-router";
import { useTitle } from "../../hooks/useTitle";
import { useTrainings } from "../../hooks/useTrainings";
import { runName, saeWords, tokensWords } from "../../lib/training";
import { fromRow } from "../../lib/problems";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training } from "../../types/training";
import { EmptyState } from "../common/EmptyState";
import { ProblemAlert } from "../common/ProblemAlert";
import { QuantBadge } from "../models/QuantBadge";
import { EngineMissing } from "../training/EngineMissing";
import { MetricsLine, RunActions, TrainingPill, TrainingProgressLine } from "../training/RunState";
import classes from "../training/training.module.css";

/** Every training run, those under way first. */
export default function TrainingPanel() {
  useTitle("Training");
  const runs = useTrainings();
  const load = useTrainingsStore((state) => state.load);
  const { fetchTrainings } = useTrainingsStore.getState();
  return (
    <div className={classes.page}>
      <div className={classes.head}>
        <Title order={1}>Training</Title>
        {runs.length > 0 && (
          <Button component={Link} to="/training/new" leftSection={<Plus size={16} aria-hidden />}>
            Train an SAE
          </Button>
        )}
      </div>
      <div className={classes.stack}>
        <EngineMissing />
        {load.state === "error" && (
          <ProblemAlert
            title="The training runs could not be read"
            problem={load.error ?? { code: "", message: "", hint: null }}
          >
            <Button size="compact-sm" variant="default" onClick={() => void fetchTrainings()}>
              Try again
            </Button>
          </ProblemAlert>
        )}
        {runs.length > 0 ? (
          <ul className={classes.runs} aria-label="Training runs">
            {runs.map((training) => (
              <Run key={training.id} training={training} />
            ))}
          </ul>
        ) : load.state === "ready" ? (
          <EmptyState
            title="No training run yet"
            action={
              <Button component={Link} to="/training/new">
                Train an SAE
              </Button>
            }
          >
            Choose a model that is ready, a point inside it and a text file: a sparse autoencoder learns the features of
            what the model computes there.
          </EmptyState>
        ) : null}
        {(load.state === "idle" || load.state === "loading") && (
          // Those under way are told by the feed, before the list is here.
          <Skeleton h={96} role="status" aria-label="Loading the training runs" />
        )}
      </div>
    </div>
  );
}

function Run({ training }: { training: Training }) {
  const { status, error } = training;
  return (
    <li className={classes.run} data-status={status}>
      <div>
        <div className={classes.titles}>
          <h2>
            <Link to={`/training/${training.id}`}>{runName(training)}</Link>
          </h2>
          <QuantBadge quantization={training.quantization} />
          <TrainingPill status={status} />
        </div>
        <p className={`${classes.runFacts} num`}>
          <span>{saeWords(training)}</span>
          <span>{tokensWords(training.training_tokens)}</span>
          <span>{new Date(training.created_at).toLocaleString()}</span>
        </p>
      </div>
      <div>
        {status !== "completed" && <TrainingProgressLine training={training} />}
        {error !== null && <p className={classes.fact}>{fromRow(error).message}</p>}
        <MetricsLine metrics={training.metrics} />
      </div>
      <div className={classes.actions}>
        <RunActions training={training} compact />
      </div>
    </li>
  );
}
