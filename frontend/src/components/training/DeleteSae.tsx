import { Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useNavigate } from "react-router";
import { deleteSae, planSaeDeletion } from "../../api/saes";
import { useResource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { type ProblemView, toProblem } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import type { Sae } from "../../types/sae";
import { DeleteAnswers } from "../common/DeleteAnswers";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";

/** Asks with exact figures. */
export function DeleteSae({ sae, onClose }: { sae: Sae; onClose: () => void }) {
  const navigate = useNavigate();
  const plan = useResource(sae.id, (signal) => planSaeDeletion(sae.id, signal));
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);

  async function confirm() {
    setBusy(true);
    try {
      const { freed_bytes } = await deleteSae(sae.id);
      toastDone(`${sae.name} deleted`, `${formatBytes(freed_bytes)} freed.`);
      void navigate("/training");
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  const refused = problem ?? plan.problem;
  return (
    <Stack>
      <Text>
        Its files and its evaluation are removed. The model, the text
        {sae.training_id === null ? "" : ", the training run"} and its curves stay.
      </Text>
      {plan.loading && <Placeholder h={24} label="Computing how much space this frees" />}
      {refused !== null && <ProblemAlert title="Nothing was deleted" problem={refused} />}
      <DeleteAnswers
        label={plan.data === null ? "Delete" : `Delete and free ${formatBytes(plan.data.freed_bytes)}`}
        busy={busy}
        disabled={plan.data === null}
        onKeep={onClose}
        onDelete={() => void confirm()}
      />
    </Stack>
  );
}
