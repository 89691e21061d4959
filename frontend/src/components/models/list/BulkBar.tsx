import { Button, Group, Menu, Stack, Text } from "@mantine/core";
import { ShieldCheck, Shrink, Trash2 } from "lucide-react";
import { useState } from "react";
import { useTorchReason } from "../../../hooks/useTorchReason";
import { type Failure, forEach, type Outcome } from "../../../lib/bulk";
import type { ModelGroup } from "../../../lib/groups";
import { cssHeightVariable } from "../../../lib/cssHeightVariable";
import { toastDone } from "../../../lib/toast";
import { isDeletable, QUANTIZATION_LABEL } from "../../../lib/labels";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model, QuantizeRequest } from "../../../types/model";
import { ServerButton } from "../../common/ServerButton";
import classes from "./BulkBar.module.css";
import { countOf, DeleteModels } from "./DeleteModels";
import { Refusals } from "./Refusals";

interface Props {
  /** The chosen ones. */
  groups: ModelGroup[];
  onSelectAll: () => void;
  onDone: () => void;
}

const barHeight = cssHeightVariable("--y-bulk-height");

/** What can be done with several models at once. What some refuse is told by name; the others are done. */
export function BulkBar({ groups, onSelectAll, onDone }: Props) {
  const { perform, quantizeModel } = useModelsStore.getState();
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<{ title: string; failures: Failure<Model>[] } | null>(null);
  const [deleting, setDeleting] = useState<Model[] | null>(null);
  const torch = useTorchReason();
  const models = groups.flatMap(({ variants }) => variants);
  const ready = models.filter((model) => model.status === "ready");
  const quantizable = ready.filter((model) => model.quantization === "none");
  const deletable = models.filter(isDeletable);

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
          {groups.length} selected{models.length > groups.length && `, ${countOf(models)}`}
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
              why={torch}
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
      <DeleteModels title="Delete models" models={deleting} onClose={() => setDeleting(null)} />
    </Stack>
  );
}
