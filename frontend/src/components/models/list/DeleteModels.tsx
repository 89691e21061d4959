import { Checkbox, List, Modal, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { planDeletions, type Removal } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { forEach } from "../../../lib/bulk";
import { formatBytes } from "../../../lib/bytes";
import { variantName } from "../../../lib/groups";
import { doLater } from "../../../lib/later";
import { toastDone, toastRefusal } from "../../../lib/toast";
import { useModelsStore } from "../../../stores/modelsStore";
import type { DeletionPlan, Model } from "../../../types/model";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { DeleteAnswers } from "../../common/DeleteAnswers";
import { LosesBase } from "../../common/LosesBase";
import { OriginalBox } from "../../common/OriginalBox";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";

interface Props {
  title: string;
  /** Null while nothing is asked. */
  models: Model[] | null;
  /** Whether some of them can be kept; the adapters are, until they are ticked. */
  choosable?: boolean;
  onClose: () => void;
}

/** Asks once for several, with what each frees in its turn: what some share comes free with the last of them. */
export function DeleteModels({ title, models, choosable = false, onClose }: Props) {
  return (
    <Modal opened={models !== null} onClose={onClose} title={title}>
      {models !== null && <Body models={models} choosable={choosable} onClose={onClose} />}
    </Modal>
  );
}

export function countOf(models: Model[]): string {
  return models.length === 1 ? "1 variant" : `${models.length} variants`;
}

type PlannedRow = DeletionPlan["items"][number];

/** What becomes of one model, as things are ticked now. */
function outcomeOf(row: PlannedRow | undefined, known: boolean): string {
  if (row === undefined) return known ? "already deleted" : "…";
  const { stays, used_by = [], freed_bytes } = row;
  if (used_by.length > 0) return `not deleted, ${used_by.map((use) => use.name).join(", ")}`;
  return stays
    ? `not deleted, it is in the shared cache (${formatBytes(freed_bytes)})`
    : `frees ${formatBytes(freed_bytes)}`;
}

function deleteLabel(count: number, bytes: number): string {
  if (count === 0) return "Delete";
  return bytes === 0 ? `Delete ${count}` : `Delete ${count}, free ${formatBytes(bytes)}`;
}

/** One after the other; each refusal is told by name. */
async function deleteAll(models: Model[], confirmShared: boolean, what: Removal): Promise<void> {
  const { deleteModel } = useModelsStore.getState();
  let freed = 0;
  const { done, failures } = await forEach(models, async ({ id }) => {
    freed += (await deleteModel(id, confirmShared, what)).freed_bytes;
  });
  if (done.length > 0) toastDone(`${countOf(done)} deleted`, `${formatBytes(freed)} freed.`);
  for (const { item, problem } of failures) toastRefusal(`${variantName(item)} was not deleted`, problem);
}

function Body({ models, choosable, onClose }: { models: Model[] } & Required<Pick<Props, "choosable" | "onClose">>) {
  const { announceDeletion } = useModelsStore.getState();
  const [kept, setKept] = useState<ReadonlySet<string>>(
    () => new Set(choosable ? models.filter(({ adapter }) => adapter !== null).map(({ id }) => id) : []),
  );
  const [confirmed, setConfirmed] = useState(false);
  const [withOriginal, setWithOriginal] = useState(false);
  const ids = models.map(({ id }) => id).filter((id) => !kept.has(id));
  const plan = useResource(
    ids.length === 0 ? null : `${ids.join(" ")} ${confirmed} ${withOriginal}`,
    (signal) => planDeletions({ ids, confirm_shared: confirmed, with_original: withOriginal }, signal),
    models.map(({ id }) => id).join(" "),
  );
  const rows = new Map(ids.length === 0 ? [] : plan.data?.items.map((row) => [row.id, row]));
  const found = models.map((model) => ({ model, row: kept.has(model.id) ? undefined : rows.get(model.id) }));
  const shared = found.filter(({ row }) => row?.shared_cache === true && (row.used_by ?? []).length === 0);
  const going = found.filter(({ row }) => row?.stays === false);

  function confirm() {
    onClose();
    const chosen = going.map(({ model }) => model);
    const undo = announceDeletion(chosen.map(({ id }) => id));
    const what = withOriginal ? "with-original" : "model";
    doLater({ title: `${countOf(chosen)} will be deleted`, undo, run: () => void deleteAll(chosen, confirmed, what) });
  }

  const keep = (id: string, keeps: boolean) =>
    setKept((before) => new Set(keeps ? [...before, id] : [...before].filter((other) => other !== id)));

  return (
    <Stack>
      <ConnectionNotice />
      {plan.loading && plan.data === null && <Placeholder h={64} label="Computing how much space this frees" />}
      {plan.problem !== null && (
        <ProblemAlert title="Could not compute how much space this frees" problem={plan.problem}>
          <TryAgain onClick={plan.reload} />
        </ProblemAlert>
      )}
      {(plan.data !== null || ids.length === 0) && (
        <List className="num" {...(choosable && { listStyleType: "none", spacing: "xs" })}>
          {found.map(({ model, row }) => {
            const outcome = kept.has(model.id) ? "stays" : outcomeOf(row, !plan.loading);
            return (
              <List.Item key={model.id}>
                {choosable ? (
                  <Checkbox
                    size="md"
                    checked={!kept.has(model.id)}
                    onChange={(event) => keep(model.id, !event.currentTarget.checked)}
                    label={variantName(model)}
                    description={outcome}
                  />
                ) : (
                  `${variantName(model)}: ${outcome}`
                )}
                {row?.stays === false && <Kept row={row} />}
              </List.Item>
            );
          })}
        </List>
      )}
      {plan.data !== null && ids.length > 0 && (withOriginal || plan.data.original_bytes > 0) && (
        <OriginalBox checked={withOriginal} bytes={plan.data.original_bytes} onChange={setWithOriginal} />
      )}
      {shared.length > 0 && (
        <Checkbox
          size="md"
          checked={confirmed}
          onChange={(event) => setConfirmed(event.currentTarget.checked)}
          label="Also remove files from the shared cache"
          description={`Another tool may still need ${shared.length === 1 ? "it" : "them"}.`}
        />
      )}
      <DeleteAnswers
        label={deleteLabel(going.length, plan.data?.freed_bytes ?? 0)}
        keep="Keep them"
        // A plan of what was ticked before is none.
        disabled={going.length === 0 || plan.loading}
        onKeep={onClose}
        onDelete={confirm}
      />
    </Stack>
  );
}

function Kept({ row }: { row: PlannedRow }) {
  return (
    <>
      {row.kept_because.map((kept) => (
        <Text key={kept.reason} size="sm" c="dimmed">
          keeps {formatBytes(kept.bytes)}: {kept.reason}
        </Text>
      ))}
      <LosesBase adapters={row.adapters} />
    </>
  );
}
