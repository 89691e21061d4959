import { Button, Stack } from "@mantine/core";
import { Plus } from "lucide-react";
import { Link } from "react-router";
import { useTrainings } from "../../hooks/useTrainings";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Model } from "../../types/model";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { RunList } from "./RunList";
import { SaeShelf } from "./SaeShelf";

/** The training runs on one model, and the sparse autoencoders that were trained on it. */
export default function ModelRuns({ model }: { model: Model }) {
  return (
    <Stack gap="md">
      <Runs model={model} />
      <SaeShelf modelId={model.id} />
    </Stack>
  );
}

/** In the order of `useTrainings`. */
function Runs({ model }: { model: Model }) {
  const runs = useTrainings().filter(({ model_id }) => model_id === model.id);
  const load = useTrainingsStore((state) => state.load);
  const { fetchTrainings } = useTrainingsStore.getState();
  if (load.state === "error" && load.error !== undefined)
    return (
      <ProblemAlert title="Could not load the training runs" problem={load.error}>
        <TryAgain onClick={() => void fetchTrainings()} />
      </ProblemAlert>
    );
  if (runs.length > 0) return <RunList runs={runs} />;
  if (load.state !== "ready") return <Placeholder h={96} label="Loading the training runs" />;
  const possible = model.status === "ready" && model.training?.compatible !== false;
  return (
    <EmptyState
      title="No training run yet"
      action={
        possible && (
          <Button
            variant="default"
            component={Link}
            to={`/training/new?model=${model.id}`}
            leftSection={<Plus size={16} aria-hidden />}
          >
            Train an SAE
          </Button>
        )
      }
    >
      Sparse autoencoders trained on {model.name} are listed here.
    </EmptyState>
  );
}
