import { VisuallyHidden } from "@mantine/core";
import { useEffect, useState } from "react";
import { STATUS_WORD } from "../../lib/words";
import { useModelsStore } from "../../stores/modelsStore";

/** The page's one live region: says when a model's state changes, never how far it got. */
export function Announcer() {
  const [message, setMessage] = useState("");
  useEffect(
    () =>
      useModelsStore.subscribe((state, before) => {
        if (state.byId === before.byId || before.load.state !== "ready") return;
        const changes = Object.values(state.byId).flatMap((model) => {
          const known = before.byId[model.id];
          if (known === undefined) return [];
          if (known.status !== model.status) return [`${model.name}: ${STATUS_WORD[model.status]}`];
          if (known.loaded !== model.loaded) return [`${model.name}: ${model.loaded ? "Loaded" : "Unloaded"}`];
          return [];
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
