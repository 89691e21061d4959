import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { ArrowUpCircle } from "lucide-react";
import { useState } from "react";
import { Link } from "react-router";
import { useNewerRow } from "../../../hooks/useModels";
import { formatDuration } from "../../../lib/bytes";
import { modelPath } from "../../../lib/modelPath";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { toastDone } from "../../../lib/toast";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";

/** Whether the Hub has a newer version of a model, and the step that gets it. */
export function UpdateNotice({ model }: { model: Model }) {
  const [problem, setProblem] = useState<ProblemView | null>(null);
  if (!model.endpoint.startsWith("http"))
    return (
      <Text size="sm" c="dimmed">
        Imported from a folder; no updates.
      </Text>
    );
  if (model.commit.startsWith(model.revision))
    return (
      <Text size="sm" c="dimmed">
        Pinned to this commit; no updates.
      </Text>
    );
  return (
    <Stack gap="xs">
      {model.update_available === true ? (
        <Newer model={model} onProblem={setProblem} />
      ) : (
        <Group gap="xs">
          <Text size="sm" c="dimmed">
            {model.update_available === null
              ? `No update information for ${model.revision}`
              : `Up to date with ${model.revision}`}
            {formatChecked(model)}.
          </Text>
          <CheckNow model={model} onProblem={setProblem} />
        </Group>
      )}
      {problem !== null && (
        <ProblemAlert title="Could not ask the Hub" problem={problem}>
          <Button
            size="compact-sm"
            variant="default"
            component={Link}
            to={`/models?download=${encodeURIComponent(`${model.model_id}@${model.revision}`)}`}
          >
            Look it up on the Hub
          </Button>
        </ProblemAlert>
      )}
    </Stack>
  );
}

function formatChecked({ checked_at }: Model): string {
  if (checked_at === null) return "";
  const seconds = (Date.now() - Date.parse(checked_at)) / 1000;
  return seconds < 60 ? ", checked just now" : `, checked ${formatDuration(seconds)} ago`;
}

interface StepProps {
  model: Model;
  onProblem: (problem: ProblemView | null) => void;
}

function Newer({ model, onProblem }: StepProps) {
  const downloadModel = useModelsStore((state) => state.downloadModel);
  const newer = useNewerRow(model);
  const [busy, setBusy] = useState(false);

  async function download() {
    setBusy(true);
    onProblem(null);
    try {
      const { model_id, revision, quantization, gguf_file } = model;
      await downloadModel({
        model_id,
        revision,
        quantization,
        gguf_file,
        keep_original: true,
        allow_pickle: false,
        allow_unsupported: false,
        with_base: false,
      });
      toastDone(`Downloading the newer ${model.name}`, "The installed version is kept until you delete it.");
    } catch (error) {
      onProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <Alert
      variant="light"
      icon={<ArrowUpCircle size={18} aria-hidden />}
      title={newer === undefined ? "A newer version is on the Hub" : "A newer version is installed"}
    >
      <Stack gap="xs">
        <Text size="sm" component="div">
          {model.revision} is at{" "}
          <CopyText text={model.latest_commit ?? ""} label="newer commit">
            {(model.latest_commit ?? "").slice(0, 10)}
          </CopyText>{" "}
          now, this model at{" "}
          <CopyText text={model.commit} label="commit">
            {model.commit.slice(0, 10)}
          </CopyText>
          {formatChecked(model)}.
        </Text>
        <Group gap="xs">
          {newer === undefined ? (
            <ServerButton size="compact-sm" variant="default" loading={busy} onClick={() => void download()}>
              Download the newer version
            </ServerButton>
          ) : (
            <Button size="compact-sm" variant="default" component={Link} to={modelPath(newer)}>
              Open it
            </Button>
          )}
          <CheckNow model={model} onProblem={onProblem} />
        </Group>
      </Stack>
    </Alert>
  );
}

function CheckNow({ model, onProblem }: StepProps) {
  const checkUpdate = useModelsStore((state) => state.checkUpdate);
  const [busy, setBusy] = useState(false);

  async function check() {
    setBusy(true);
    onProblem(null);
    try {
      await checkUpdate(model.id);
    } catch (error) {
      onProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <ServerButton size="compact-sm" variant="default" loading={busy} onClick={() => void check()}>
      {model.checked_at === null ? "Check now" : "Check again"}
    </ServerButton>
  );
}
