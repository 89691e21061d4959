import { Stack } from "@mantine/core";
import { useState } from "react";
import { type FieldErrors, fieldErrors } from "../../hooks/useTrainings";
import { type ProblemView, toProblem } from "../../lib/problems";
import type { Sae, SaeEvaluate } from "../../types/sae";
import { NumberField } from "../common/NumberField";
import { ProblemAlert } from "../common/ProblemAlert";
import { ServerButton } from "../common/ServerButton";
import { DatasetFields } from "./DatasetFields";

interface Props {
  /** What the button says. */
  action: string;
  start: (request: SaeEvaluate) => Promise<Sae>;
  tokens: number;
  /** What is read. */
  description: string;
  /** The text of the training run, where it was trained here. */
  text?: { path: string; column?: string | null } | undefined;
  onStarted: () => void;
}

/** Which text the model reads for an SAE. */
export function SaeTextForm({ action, start, tokens: suggested, description, text, onStarted }: Props) {
  const [dataset, setDataset] = useState({ path: text?.path ?? "", column: text?.column ?? "" });
  const [tokens, setTokens] = useState<number | "">(suggested);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ problem: ProblemView; fields: FieldErrors } | null>(null);

  async function submit() {
    setBusy(true);
    setFailure(null);
    try {
      await start({
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
        void submit();
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
          description={description}
          value={tokens}
          onChange={setTokens}
          error={failure?.fields.tokens}
          maw={280}
        />
        {failure !== null && <ProblemAlert title="The work was not started" problem={failure.problem} />}
        <ServerButton
          type="submit"
          loading={busy}
          disabled={dataset.path.trim() === "" || tokens === ""}
          style={{ alignSelf: "flex-start" }}
        >
          {action}
        </ServerButton>
      </Stack>
    </form>
  );
}
