import { Button, Checkbox, Group, Modal, Radio, Skeleton, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { estimateLocalMemory } from "../../api/models";
import { useResource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { type ProblemView, toProblem } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import { QUANTIZATION_WORD } from "../../lib/words";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model, QuantizeRequest } from "../../types/model";
import { ProblemAlert } from "../common/ProblemAlert";

export interface QuantizeWish {
  model: Model;
  quantization: QuantizeRequest["quantization"];
}

/** Asks for a quantized copy, with what it will take beside what the model takes now. */
export function QuantizeDialog({ wish, onClose }: { wish: QuantizeWish | null; onClose: () => void }) {
  return (
    <Modal opened={wish !== null} onClose={onClose} title={`Quantize ${wish?.model.name ?? ""}`} size="md">
      {wish !== null && <Body key={wish.model.id} wish={wish} onClose={onClose} />}
    </Modal>
  );
}

const ASKED = { context: 2048, batch: 1, dtype: "auto" } as const;

function Body({ wish: { model, quantization }, onClose }: { wish: QuantizeWish; onClose: () => void }) {
  const quantize = useModelsStore((state) => state.quantizeModel);
  const estimate = useResource(model.id, (signal) => estimateLocalMemory(model.id, ASKED, signal));
  const [wanted, setWanted] = useState(quantization);
  const [keep, setKeep] = useState(true);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const option = (name: string) => estimate.data?.options.find((other) => other.quantization === name);

  async function confirm() {
    setBusy(true);
    try {
      await quantize(model.id, { quantization: wanted, keep_original: keep });
      toastDone(`${model.name} is being quantized to ${QUANTIZATION_WORD[wanted]}`, "The copy has a card of its own.");
      onClose();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  const words = (name: QuantizeRequest["quantization"]) => {
    const found = option(name);
    if (found === undefined) return null;
    if (!found.available) return found.note;
    const approximate = estimate.data?.method === "approximate" ? "≈ " : "";
    const now = option("none")?.weights_bytes ?? model.memory_estimated_bytes;
    return [
      `${approximate}${formatBytes(found.weights_bytes)} in memory${now === null ? "" : ` instead of ${formatBytes(now)}`}`,
      `${approximate}${formatBytes(found.disk_bytes)} more on the disk`,
      found.note,
    ]
      .filter((part) => part !== null)
      .join(". ");
  };

  return (
    <Stack>
      <Radio.Group
        label="Precision"
        value={wanted}
        onChange={(value) => {
          setWanted(value);
          setProblem(null);
        }}
      >
        <Stack gap={8} mt={8}>
          {(["4bit", "8bit"] as const).map((name) => (
            <Radio
              key={name}
              value={name}
              label={QUANTIZATION_WORD[name]}
              description={words(name)}
              disabled={option(name)?.available === false}
              className="num"
            />
          ))}
        </Stack>
      </Radio.Group>
      {estimate.loading && <Skeleton h={32} role="status" aria-label="Working out the sizes" />}
      {estimate.problem !== null && (
        <ProblemAlert title="The sizes are not known" problem={estimate.problem} tone="warn">
          <Button size="compact-sm" variant="default" onClick={estimate.reload}>
            Try again
          </Button>
        </ProblemAlert>
      )}
      <Checkbox
        checked={keep}
        onChange={(event) => setKeep(event.currentTarget.checked)}
        label="Keep the full-precision model"
        description={
          keep
            ? "Both can be used, and another precision can be made without a download."
            : `It is deleted once the copy works, unless it is loaded or another entry needs it; ${formatBytes(model.disk_bytes)} come free.`
        }
      />
      <Text size="sm" c="dimmed">
        The copy is made once, loaded back and compared with the original; its drift is shown when it is ready.
      </Text>
      {problem !== null && <ProblemAlert title="It is not being quantized" problem={problem} />}
      <Group justify="flex-end">
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        <Button
          loading={busy}
          disabled={option(wanted)?.available === false}
          onClick={() => void confirm()}
          data-autofocus
        >
          Quantize to {QUANTIZATION_WORD[wanted]}
        </Button>
      </Group>
    </Stack>
  );
}
