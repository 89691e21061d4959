import { Checkbox, Group, List, Modal, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { planRemoval, type Removal } from "../../api/models";
import { useModel, usePending } from "../../hooks/useModels";
import { useResource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { doLater } from "../../lib/later";
import { toastDone, toastProblem } from "../../lib/toast";
import { precisionLabel, sentence } from "../../lib/labels";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model } from "../../types/model";
import { DeleteAnswers } from "./DeleteAnswers";
import { LosesBase } from "./LosesBase";
import { OriginalBox } from "./OriginalBox";
import { Placeholder } from "./Placeholder";
import { ProblemAlert } from "./ProblemAlert";
import { ServerButton } from "./ServerButton";
import { ConnectionNotice } from "./ConnectionNotice";
import { TryAgain } from "./TryAgain";

interface Props {
  model: Model | null;
  /** Only the files that a quantized copy was made of; the copy stays. */
  originalOnly?: boolean;
  onClose: () => void;
}

/** Asks with exact figures: what a deletion frees, what it keeps and why, and what stands in its way. */
export function ConfirmDelete({ model, originalOnly = false, onClose }: Props) {
  const what = originalOnly ? "Remove the original of" : "Delete";
  return (
    <Modal opened={model !== null} onClose={onClose} title={model === null ? "" : `${what} ${model.name}`} size="md">
      {model !== null && <Body key={model.id} model={model} originalOnly={originalOnly} onClose={onClose} />}
    </Modal>
  );
}

function Body({ model, originalOnly, onClose }: { model: Model; originalOnly: boolean; onClose: () => void }) {
  const { deleteModel, announceDeletion } = useModelsStore.getState();
  // Asked about again once something lets go of it.
  const users = (useModel(model.id) ?? model).used_by.map((use) => use.id).join(" ");
  const [withOriginal, setWithOriginal] = useState(false);
  const what: Removal = originalOnly ? "original" : withOriginal ? "with-original" : "model";
  const plan = useResource(`${model.id} ${users} ${what}`, (signal) => planRemoval(model.id, what, signal), model.id);
  const [confirmed, setConfirmed] = useState(false);

  function confirm() {
    onClose();
    const undo = announceDeletion([model.id]);
    doLater({
      title: originalOnly ? `The original of ${model.name} will be removed` : `${model.name} will be deleted`,
      undo,
      run: () =>
        void deleteModel(model.id, confirmed, what).then(
          ({ freed_bytes }) =>
            toastDone(
              originalOnly ? `The original of ${model.name} was removed` : `${model.name} deleted`,
              `${formatBytes(freed_bytes)} freed.`,
            ),
          (error: unknown) => toastProblem(`${model.name} was not deleted`, error),
        ),
    });
  }

  const report = plan.data;
  const usedBy = report?.used_by ?? model.used_by;
  const shared = report?.shared_cache ?? false;
  const freed = report === null ? null : report.freed_bytes;
  return (
    <Stack>
      <ConnectionNotice />
      <Text>
        <span className="mono">{model.model_id}</span>, {precisionLabel(model).toLowerCase()}
      </Text>
      {plan.loading && plan.data === null && <Placeholder h={48} label="Computing how much space this frees" />}
      {plan.problem !== null && (
        <ProblemAlert title="Could not compute how much space this frees" problem={plan.problem}>
          <TryAgain onClick={plan.reload} />
        </ProblemAlert>
      )}
      {report !== null && (
        <div>
          <Text className="num">
            Frees <strong>{formatBytes(report.freed_bytes)}</strong>
            {report.kept_bytes > 0 && <>, keeps {formatBytes(report.kept_bytes)}</>}.
          </Text>
          {report.kept_because.length > 0 && (
            <List mt={4} c="dimmed">
              {report.kept_because.map((kept) => (
                <List.Item key={kept.reason} className="num">
                  {formatBytes(kept.bytes)}: {kept.reason}
                </List.Item>
              ))}
            </List>
          )}
        </div>
      )}
      {report !== null && <LosesBase adapters={report.adapters} />}
      {report !== null && (withOriginal || report.original_bytes > 0) && (
        <OriginalBox checked={withOriginal} bytes={report.original_bytes} onChange={setWithOriginal} />
      )}
      {usedBy.length > 0 && <Users model={model} usedBy={usedBy} />}
      {shared && (
        <Checkbox
          size="md"
          checked={confirmed}
          onChange={(event) => setConfirmed(event.currentTarget.checked)}
          label="Remove the files from the shared Hugging Face cache"
          description="Modelyard did not download them itself; another tool may still need them."
        />
      )}
      <DeleteAnswers
        label={buttonLabel(originalOnly, freed)}
        // A plan of what was ticked before is none.
        disabled={report === null || plan.loading || usedBy.length > 0 || (shared && !confirmed)}
        onKeep={onClose}
        onDelete={confirm}
      />
    </Stack>
  );
}

function buttonLabel(originalOnly: boolean, freed: number | null): string {
  if (freed === null || freed === 0) return originalOnly ? "Remove" : "Delete";
  return `${originalOnly ? "Remove" : "Delete"} and free ${formatBytes(freed)}`;
}

/** What stands in the way, each with the way to end it. */
function Users({ model, usedBy }: { model: Model; usedBy: Model["used_by"] }) {
  const act = useModelsStore((state) => state.act);
  const pending = usePending(model.id);
  return (
    <Stack gap="xs">
      {usedBy.map((use) => (
        <Group key={use.id + use.name} justify="space-between" gap="xs">
          <Text>
            {use.kind === "training" ? (
              <Link to={`/training/${use.id}`}>{sentence(use.name)}</Link>
            ) : (
              sentence(use.name)
            )}
          </Text>
          {use.kind === "loaded" && (
            <ServerButton
              size="compact-sm"
              variant="default"
              disabled={pending !== undefined}
              onClick={() => void act(model.id, "unload")}
            >
              {pending?.op === "unload" ? "Unloading" : "Unload"}
            </ServerButton>
          )}
        </Group>
      ))}
      <Text c="dimmed">
        {usedBy.every((use) => use.kind === "loaded")
          ? "It can be deleted once it is unloaded."
          : "It can be deleted when that has ended."}
      </Text>
    </Stack>
  );
}
