import { VisuallyHidden } from "@mantine/core";
import { useEffect, useState } from "react";
import { runName, TRAINING_STATUS_LABEL } from "../../lib/training";
import { STATUS_LABEL } from "../../lib/labels";
import { useModelsStore } from "../../stores/modelsStore";
import { useTrainingsStore } from "../../stores/trainingsStore";

/** The page's one live region: says when the state of a model or a training run changes, never how far it got. */
export function Announcer() {
  const [message, setMessage] = useState("");
  useEffect(
    () =>
      useModelsStore.subscribe((state, before) => {
        if (state.byId === before.byId || before.load.state !== "ready") return;
        const changes = Object.values(state.byId).flatMap((model) => {
          const known = before.byId[model.id];
          if (known === undefined) return [];
          if (known.status !== model.status) return [`${model.name}: ${STATUS_LABEL[model.status]}`];
          if (known.loaded !== model.loaded) return [`${model.name}: ${model.loaded ? "Loaded" : "Unloaded"}`];
          return [];
        });
        if (changes.length > 0) setMessage(changes.join(". "));
      }),
    [],
  );
  useEffect(
    () =>
      useTrainingsStore.subscribe((state, before) => {
        const changes = Object.values(state.byId).flatMap((training) => {
          const known = before.byId[training.id];
          return known === undefined || known.status === training.status
            ? []
            : [`${runName(training)}: ${TRAINING_STATUS_LABEL[training.status]}`];
        });
        if (changes.length > 0) setMessage(changes.join(". "));
      }),
    [],
  );
  return (
    <VisuallyHidden role="log" aria-live="polite" aria-label="Changes">
      {message}
    </VisuallyHidden>
  );
}
