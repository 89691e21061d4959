import { Stack } from "@mantine/core";
import { useState } from "react";
import { evaluateSae } from "../../api/saes";
import { type FieldErrors, fieldErrors } from "../../hooks/useTrainings";
import { type ProblemView, toProblem } from "../../lib/problems";
import type { Sae } from "../../types/sae";
import { NumberField } from "../common/NumberField";
import { ProblemAlert } from "../common/ProblemAlert";
import { ServerButton } from "../common/ServerButton";
import { DatasetFields } from "./DatasetFields";

interface Props {
  sae: Sae;
  /** The text of the training run, where it was trained here. */
  text?: { path: string; column?: string | null } | undefined;
  onStarted: () => void;
}

/** On which text an SAE is judged. */
export function SaeEvaluateForm({ sae, text, onStarted }: Props) {
  const [dataset, setDataset] = useState({ path: text?.path ?? "", column: text?.column ?? "" });
  const [tokens, setTokens] = useState<number | "">(50_000);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ problem: ProblemView; fields: FieldErrors } | null>(null);

  async function start() {
    setBusy(true);
    setFailure(null);
    try {
      await evaluateSae(sae.id, {
        dataset: { path: dataset.path.trim(), column: dataset.column.trim() || null },
        tokens: tokens || 0,
        model_id: null,
        dtype: "auto",
        device: "auto",
      });
      onStarted();
    } catch (error) {
      setFailure({ problem: toProblem(error), fields: fieldErrors(error) });
    } finally {
      setBusy(false);
    }
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      <Stack gap="md" align="stretch">
        <DatasetFields
          {...dataset}
          found={null}
          errors={failure?.fields ?? {}}
          onChange={(change) => setDataset((now) => ({ ...now, ...change }))}
        />
        <NumberField
          label="Tokens"
          description="At most; of the text it was trained on, only the rows kept back are read"
          value={tokens}
          onChange={setTokens}
          error={failure?.fields.tokens}
          maw={280}
        />
        {failure !== null && <ProblemAlert title="The evaluation was not started" problem={failure.problem} />}
        <ServerButton
          type="submit"
          loading={busy}
          disabled={dataset.path.trim() === "" || tokens === ""}
          style={{ alignSelf: "flex-start" }}
        >
          Evaluate
        </ServerButton>
      </Stack>
    </form>
  );
}
