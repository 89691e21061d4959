import { Button, Checkbox, Group, List, Menu, Modal, Skeleton, Stack, Text } from "@mantine/core";
import { ShieldCheck, Shrink, Trash2 } from "lucide-react";
import { useState } from "react";
import { planDelete } from "../../api/models";
import { useResource } from "../../hooks/useResource";
import { type Failure, forEach, type Outcome } from "../../lib/bulk";
import { formatBytes } from "../../lib/bytes";
import { heightAs } from "../../lib/heightAs";
import { toastDone } from "../../lib/toast";
import { isActive, precisionWords, QUANTIZATION_WORD } from "../../lib/words";
import { useModelsStore } from "../../stores/modelsStore";
import type { DeletionReport, Model, QuantizeRequest } from "../../types/model";
import { DialogButtons } from "../common/DialogButtons";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import classes from "./BulkBar.module.css";

interface Props {
  /** The chosen ones. */
  models: Model[];
  onSelectAll: () => void;
  onDone: () => void;
}

const barHeight = heightAs("--y-bulk-height");

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
    setRefused(failures.length === 0 ? null : { title: `${failures.length} of ${done.length + failures.length} not ${what}`, failures });
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
      `being quantized to ${QUANTIZATION_WORD[quantization]}`,
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
        <Button
          size="compact-sm"
          variant="default"
          disabled={busy || ready.length === 0}
          leftSection={<ShieldCheck size={14} aria-hidden />}
          onClick={() => void each(ready, (model) => perform(model.id, "verify"), "being verified")}
        >
          Verify {ready.length}
        </Button>
        <Menu position="bottom-start" transitionProps={{ duration: 80 }}>
          <Menu.Target>
            <Button
              size="compact-sm"
              variant="default"
              disabled={busy || quantizable.length === 0}
              leftSection={<Shrink size={14} aria-hidden />}
            >
              Quantize {quantizable.length}
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item onClick={() => void quantize("4bit")}>To 4-bit</Menu.Item>
            <Menu.Item onClick={() => void quantize("8bit")}>To 8-bit</Menu.Item>
          </Menu.Dropdown>
        </Menu>
        <Button
          size="compact-sm"
          variant="outline"
          color="red"
          disabled={busy || deletable.length === 0}
          leftSection={<Trash2 size={14} aria-hidden />}
          onClick={() => setDeleting(deletable)}
        >
          Delete {deletable.length}…
        </Button>
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
  return `${model.name}, ${precisionWords(model).toLowerCase()}`;
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

/** What becomes of one model, as things are ticked now. */
function outcomeOf({ used_by, shared_cache, freed_bytes }: DeletionReport, confirmed: boolean): string {
  if (used_by !== undefined && used_by.length > 0) return `stays, ${used_by.map((use) => use.name).join(", ")}`;
  if (shared_cache && !confirmed) return `stays, it is in the shared cache (${formatBytes(freed_bytes)})`;
  return `frees ${formatBytes(freed_bytes)}`;
}

function deleteWords(count: number, bytes: number): string {
  if (count === 0) return "Delete";
  return bytes === 0 ? `Delete ${count}` : `Delete ${count}, free ${formatBytes(bytes)}`;
}

interface DeleteProps {
  models: Model[];
  onClose: () => void;
  onDeleted: (outcome: Outcome<Model>, what: string) => void;
}

/** Asks once for all, with what each would free by itself. */
function DeleteBody({ models, onClose, onDeleted }: DeleteProps) {
  const deleteModel = useModelsStore((state) => state.deleteModel);
  const [confirmed, setConfirmed] = useState(false);
  const [busy, setBusy] = useState(false);
  const ids = models.map((model) => model.id);
  const plans = useResource(ids.join(" "), (signal) => Promise.all(ids.map((id) => planDelete(id, signal))));
  const found = models.map((model, index) => ({ model, plan: plans.data?.[index] }));
  const free = found.filter(({ plan }) => plan !== undefined && (plan.used_by ?? []).length === 0);
  const shared = free.filter(({ plan }) => plan?.shared_cache);
  const going = confirmed ? free : free.filter(({ plan }) => !plan?.shared_cache);
  const bytes = going.reduce((sum, { plan }) => sum + (plan?.freed_bytes ?? 0), 0);

  async function confirm() {
    setBusy(true);
    const outcome = await forEach(
      going.map(({ model }) => model),
      (model) => deleteModel(model.id, confirmed),
    );
    onDeleted(outcome, "deleted");
    onClose();
  }

  return (
    <Stack>
      {plans.loading && <Skeleton h={64} role="status" aria-label="Working out what a deletion would free" />}
      {plans.problem !== null && (
        <ProblemAlert title="What a deletion would free is not known" problem={plans.problem}>
          <TryAgain onClick={plans.reload} />
        </ProblemAlert>
      )}
      {plans.data !== null && (
        <List className="num">
          {found.map(({ model, plan }) => (
            <List.Item key={model.id}>
              {nameOf(model)}: {plan === undefined ? "unknown" : outcomeOf(plan, confirmed)}
            </List.Item>
          ))}
        </List>
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
      <DialogButtons>
        <Button variant="default" onClick={onClose} data-autofocus>
          Keep them
        </Button>
        <Button color="red" loading={busy} disabled={going.length === 0} onClick={() => void confirm()}>
          {deleteWords(going.length, bytes)}
        </Button>
      </DialogButtons>
    </Stack>
  );
}
