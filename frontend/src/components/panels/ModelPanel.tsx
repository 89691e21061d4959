import { Button, Skeleton, Stack, VisuallyHidden } from "@mantine/core";
import { Suspense, useState } from "react";
import { Link, Navigate, useParams, useSearchParams } from "react-router";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { useFocusBack } from "../../hooks/useFocusBack";
import { useLive, useModel, usePending } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import { listPath } from "../../lib/modelPath";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model } from "../../types/model";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import type { CardAction } from "../models/card/actions";
import { ModelDetails } from "../models/details/ModelDetails";
import { useModelActions } from "../models/useModelActions";

const ModelRuns = lazyWithRetry(() => import("../training/ModelRuns"));

/** One model, at its own address. */
export default function ModelPanel() {
  const { id = "" } = useParams();
  const [parameters] = useSearchParams();
  const model = useModel(id);
  const live = useLive(id);
  const pending = usePending(id);
  const load = useModelsStore((state) => state.load);
  const fetchModels = useModelsStore((state) => state.fetchModels);
  const { onAction, questions } = useModelActions();
  const [leaving, setLeaving] = useState<string | null>(null);
  useTitle(model === undefined ? "Model" : `${model.name} · Models`);
  useFocusBack(id);

  function act(model: Model, action: CardAction) {
    if (action === "delete" || action === "cancel") setLeaving(model.id);
    onAction(model, action);
  }

  if (model !== undefined)
    return (
      <>
        <ModelDetails
          model={model}
          live={live}
          pending={pending}
          onAction={act}
          training={
            <Suspense fallback={<Placeholder h={96} label="Loading the training runs" />}>
              <ModelRuns model={model} />
            </Suspense>
          }
        />
        {questions}
      </>
    );
  const list = listPath(parameters);
  // Whoever removed it here has nothing to look at any more.
  if (leaving === id) return <Navigate to={list} replace />;
  if (load.state === "error" && load.error !== undefined)
    return (
      <ProblemAlert title="Could not load the model" problem={load.error}>
        <TryAgain onClick={() => void fetchModels()} />
      </ProblemAlert>
    );
  if (load.state !== "ready") return <Awaited />;
  return (
    <EmptyState
      title="Model not found"
      order={1}
      action={
        <Button component={Link} to={list}>
          Back to models
        </Button>
      }
    >
      It was deleted, or the address belongs to another server.
    </EmptyState>
  );
}

/** The shape of what is being fetched. */
function Awaited() {
  return (
    <Stack gap="md" maw={820}>
      <VisuallyHidden component="h1">Loading the model</VisuallyHidden>
      <Skeleton h={28} maw={320} />
      <Skeleton h={30} maw={240} />
      <Skeleton h={34} />
      {Array.from({ length: 8 }, (_, index) => (
        <Skeleton key={index} h={20} />
      ))}
    </Stack>
  );
}
