import { Button, Stack, Title } from "@mantine/core";
import { Plus } from "lucide-react";
import { Link } from "react-router";
import { useModelList } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import { useTrainings } from "../../hooks/useTrainings";
import { useModelsStore } from "../../stores/modelsStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { EngineMissing } from "../training/EngineMissing";
import { RunList } from "../training/RunList";
import { SaeShelf } from "../training/SaeShelf";
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
        {runs.length > 0 ? <RunList runs={runs} /> : load.state === "ready" ? <NoRuns /> : null}
        {(load.state === "idle" || load.state === "loading") && (
          // Below those that the feed has told already.
          <Placeholder h={96} label="Loading the training runs" />
        )}
        <SaeShelf />
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
