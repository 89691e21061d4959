import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { Archive, ArrowUpCircle } from "lucide-react";
import { useState } from "react";
import { Link } from "react-router";
import { useComingVersion } from "../../../hooks/useModels";
import { formatDuration } from "../../../lib/bytes";
import { modelPath } from "../../../lib/modelPath";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { followsBranch, isOutdated } from "../../../lib/versions";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import type { CardAction, OnAction } from "../card/actions";

interface Props {
  model: Model;
  onAction: OnAction;
}

/** Which version a model is, whether the Hub has a newer one, and the steps between them. */
export function UpdateNotice({ model, onAction }: Props) {
  const [problem, setProblem] = useState<ProblemView | null>(null);
  return (
    <Stack gap="xs">
      {model.replaced_by !== null ? (
        <Replaced model={model} onAction={onAction} />
      ) : isOutdated(model) ? (
        <Newer model={model} onAction={onAction} onProblem={setProblem} />
      ) : (
        <Group gap="xs">
          <Text size="sm" c="dimmed">
            {stateLabel(model)}
          </Text>
          {followsBranch(model) && model.pinned_commit === null && <CheckNow model={model} onProblem={setProblem} />}
          <Steps model={model} onAction={onAction} />
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

function stateLabel(model: Model): string {
  if (!model.endpoint.startsWith("http")) return "Imported from a folder; no updates.";
  if (!followsBranch(model)) return "Downloaded at this commit; no updates.";
  if (model.pinned_commit !== null) return "Pinned to this version; no updates are offered.";
  const known = model.update_available !== null;
  return `${known ? "Up to date with" : "No update information for"} ${model.revision}${formatChecked(model)}.`;
}

function formatChecked({ checked_at }: Model): string {
  if (checked_at === null) return "";
  const seconds = (Date.now() - Date.parse(checked_at)) / 1000;
  return seconds < 60 ? ", checked just now" : `, checked ${formatDuration(seconds)} ago`;
}

/** The way back, and what keeps this version. */
function Steps({ model, onAction }: Props) {
  if (model.status !== "ready") return null;
  const step = (label: string, action: CardAction) => (
    <ServerButton size="compact-sm" variant="default" onClick={() => onAction(model, action)}>
      {label}
    </ServerButton>
  );
  const pinned = model.pinned_commit !== null;
  return (
    <>
      {!pinned && model.previous_commit !== null && step("Roll back…", "rollback")}
      {pinned ? step("Unpin", "unpin") : followsBranch(model) && step("Pin this version", "pin")}
    </>
  );
}

function Replaced({ model, onAction }: Props) {
  return (
    <Alert variant="light" color="gray" icon={<Archive size={18} aria-hidden />} title="This version is not in use">
      <Stack gap="xs">
        <Text size="sm">Another version is used under the name {model.model_id}.</Text>
        <Group gap="xs">
          <ServerButton size="compact-sm" variant="default" onClick={() => onAction(model, "use-version")}>
            Use this version…
          </ServerButton>
          <Button size="compact-sm" variant="default" component={Link} to={modelPath(model.replaced_by ?? "")}>
            Open the version in use
          </Button>
        </Group>
      </Stack>
    </Alert>
  );
}

interface StepProps {
  model: Model;
  onProblem: (problem: ProblemView | null) => void;
}

function Newer({ model, onAction, onProblem }: Props & StepProps) {
  const coming = useComingVersion(model);
  const newest = model.pinned_commit ?? model.latest_commit ?? "";
  return (
    <Alert
      variant="light"
      icon={<ArrowUpCircle size={18} aria-hidden />}
      title={coming === undefined ? "A newer version is on the Hub" : "The newer version is being downloaded"}
    >
      <Stack gap="xs">
        <Text size="sm" component="div">
          {model.revision} is at{" "}
          <CopyText text={newest} label="newer commit">
            {newest.slice(0, 10)}
          </CopyText>{" "}
          now, this model at{" "}
          <CopyText text={model.commit} label="commit">
            {model.commit.slice(0, 10)}
          </CopyText>
          {formatChecked(model)}.
        </Text>
        <Group gap="xs">
          {coming === undefined ? (
            <ServerButton size="compact-sm" onClick={() => onAction(model, "update")}>
              Update…
            </ServerButton>
          ) : (
            <Button size="compact-sm" variant="default" component={Link} to={modelPath(coming)}>
              Open it
            </Button>
          )}
          <CheckNow model={model} onProblem={onProblem} />
          <Steps model={model} onAction={onAction} />
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
