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
        const changes = Object.values(state.byId)
          .filter((model) => before.byId[model.id] !== undefined && before.byId[model.id]?.status !== model.status)
          .map((model) => `${model.name}: ${STATUS_WORD[model.status]}`);
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
