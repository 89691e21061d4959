import { Button, Checkbox, Group, List, Menu, Modal, Stack, Text } from "@mantine/core";
import { ShieldCheck, Shrink, Trash2 } from "lucide-react";
import { useState } from "react";
import { planDeletions } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { type Failure, forEach, type Outcome } from "../../../lib/bulk";
import { formatBytes } from "../../../lib/bytes";
import { cssHeightVariable } from "../../../lib/cssHeightVariable";
import { toastDone } from "../../../lib/toast";
import { isActive, precisionLabel, QUANTIZATION_LABEL } from "../../../lib/labels";
import { useModelsStore } from "../../../stores/modelsStore";
import type { DeletionPlan, Model, QuantizeRequest } from "../../../types/model";
import { DeleteAnswers } from "../../common/DeleteAnswers";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { LosesBase } from "../../common/LosesBase";
import { OriginalBox } from "../../common/OriginalBox";
import { ServerButton } from "../../common/ServerButton";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { TryAgain } from "../../common/TryAgain";
import classes from "./BulkBar.module.css";

interface Props {
  /** The chosen ones. */
  models: Model[];
  onSelectAll: () => void;
  onDone: () => void;
}

const barHeight = cssHeightVariable("--y-bulk-height");

/** What can be done with several models at once. What some refuse is told by name; the others are done. */
export function BulkBar({ models, onSelectAll, onDone }: Props) {
  const { perform, quantizeModel } = useModelsStore.getState();
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<{ title: string; failures: Failure<Model>[] } | null>(null);
  const [deleting, setDeleting] = useState<Model[] | null>(null);
  const ready = models.filter((model) => model.status === "ready");
  const quantizable = ready.filter((model) => model.quantization === "none");
  const deletable = models.filter((model) => !isActive(model.status) && model.status !== "deleting");

  function tell({ done, failures }: Outcome<Model>, what: string): void {
    if (done.length > 0) toastDone(`${countOf(done)} ${what}`);
    setRefused(
      failures.length === 0
        ? null
        : { title: `${failures.length} of ${done.length + failures.length} not ${what}`, failures },
    );
  }

  async function each(among: Model[], action: (model: Model) => Promise<unknown>, what: string): Promise<void> {
    setBusy(true);
    tell(await forEach(among, action), what);
    setBusy(false);
  }

  const quantize = (quantization: QuantizeRequest["quantization"]) =>
    each(
      quantizable,
      (model) => quantizeModel(model.id, { quantization, keep_original: true }),
      `being quantized to ${QUANTIZATION_LABEL[quantization]}`,
    );

  return (
    <Stack ref={barHeight} gap="xs" className={classes.bar} role="group" aria-label="The selected models">
      <Group gap="xs">
        <Text size="sm" fw={600} className="num" role="status">
          {models.length} selected
        </Text>
        <Button size="compact-sm" variant="subtle" onClick={onSelectAll}>
          Select all shown
        </Button>
        <ServerButton
          size="compact-sm"
          variant="default"
          disabled={busy || ready.length === 0}
          leftSection={<ShieldCheck size={14} aria-hidden />}
          onClick={() => void each(ready, (model) => perform(model.id, "verify"), "being verified")}
        >
          Verify {ready.length}
        </ServerButton>
        <Menu position="bottom-start" transitionProps={{ duration: 80 }}>
          <Menu.Target>
            <ServerButton
              size="compact-sm"
              variant="default"
              disabled={busy || quantizable.length === 0}
              leftSection={<Shrink size={14} aria-hidden />}
            >
              Quantize {quantizable.length}
            </ServerButton>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item onClick={() => void quantize("4bit")}>To 4-bit</Menu.Item>
            <Menu.Item onClick={() => void quantize("8bit")}>To 8-bit</Menu.Item>
          </Menu.Dropdown>
        </Menu>
        <ServerButton
          size="compact-sm"
          variant="outline"
          color="red"
          disabled={busy || deletable.length === 0}
          leftSection={<Trash2 size={14} aria-hidden />}
          onClick={() => setDeleting(deletable)}
        >
          Delete {deletable.length}…
        </ServerButton>
        <Button size="compact-sm" variant="subtle" onClick={onDone}>
          Done
        </Button>
      </Group>
      {refused !== null && <Refusals title={refused.title} failures={refused.failures} />}
      <Modal opened={deleting !== null} onClose={() => setDeleting(null)} title="Delete models">
        {deleting !== null && <DeleteBody models={deleting} onClose={() => setDeleting(null)} onDeleted={tell} />}
      </Modal>
    </Stack>
  );
}

function countOf(models: Model[]): string {
  return models.length === 1 ? "1 model" : `${models.length} models`;
}

function nameOf(model: Model): string {
  return `${model.name}, ${precisionLabel(model).toLowerCase()}`;
}

function Refusals({ title, failures }: { title: string; failures: Failure<Model>[] }) {
  return (
    <ProblemAlert title={title} problem={{ code: "", message: "", hint: null }}>
      <List size="sm">
        {failures.map(({ item, problem }) => (
          <List.Item key={item.id}>
            {nameOf(item)}: {problem.message} {problem.hint}
          </List.Item>
        ))}
      </List>
    </ProblemAlert>
  );
}

type PlannedRow = DeletionPlan["items"][number];

/** What becomes of one model, as things are ticked now. */
function outcomeOf(row: PlannedRow | undefined): string {
  if (row === undefined) return "already deleted";
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

interface DeleteProps {
  models: Model[];
  onClose: () => void;
  onDeleted: (outcome: Outcome<Model>, what: string) => void;
}

/** Asks once for all, with what each frees in its turn: what some share comes free with the last of them. */
function DeleteBody({ models, onClose, onDeleted }: DeleteProps) {
  const deleteModel = useModelsStore((state) => state.deleteModel);
  const [confirmed, setConfirmed] = useState(false);
  const [withOriginal, setWithOriginal] = useState(false);
  const [busy, setBusy] = useState(false);
  const ids = models.map((model) => model.id);
  const key = ids.join(" ");
  const plan = useResource(
    `${key} ${confirmed} ${withOriginal}`,
    (signal) => planDeletions({ ids, confirm_shared: confirmed, with_original: withOriginal }, signal),
    key,
  );
  const rows = new Map(plan.data?.items.map((row) => [row.id, row]));
  const found = models.map((model) => ({ model, row: rows.get(model.id) }));
  const shared = found.filter(({ row }) => row?.shared_cache === true && (row.used_by ?? []).length === 0);
  const going = found.filter(({ row }) => row?.stays === false);

  async function confirm() {
    setBusy(true);
    const outcome = await forEach(
      going.map(({ model }) => model),
      (model) => deleteModel(model.id, confirmed, withOriginal ? "with-original" : "model"),
    );
    onDeleted(outcome, "deleted");
    onClose();
  }

  return (
    <Stack>
      <ConnectionNotice />
      {plan.loading && plan.data === null && <Placeholder h={64} label="Computing how much space this frees" />}
      {plan.problem !== null && (
        <ProblemAlert title="Could not compute how much space this frees" problem={plan.problem}>
          <TryAgain onClick={plan.reload} />
        </ProblemAlert>
      )}
      {plan.data !== null && (
        <List className="num">
          {found.map(({ model, row }) => (
            <List.Item key={model.id}>
              {nameOf(model)}: {outcomeOf(row)}
              {row?.stays === false &&
                row.kept_because.map((kept) => (
                  <Text key={kept.reason} size="sm" c="dimmed">
                    keeps {formatBytes(kept.bytes)}: {kept.reason}
                  </Text>
                ))}
              {row?.stays === false && <LosesBase adapters={row.adapters} />}
            </List.Item>
          ))}
        </List>
      )}
      {plan.data !== null && (withOriginal || plan.data.original_bytes > 0) && (
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
        busy={busy}
        // A plan of what was ticked before is none.
        disabled={going.length === 0 || plan.loading}
        onKeep={onClose}
        onDelete={() => void confirm()}
      />
    </Stack>
  );
}
