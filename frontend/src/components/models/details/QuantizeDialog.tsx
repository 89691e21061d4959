import { Button, Checkbox, Modal, Radio, Stack, Text } from "@mantine/core";
import { useId, useState } from "react";
import { estimateLocalMemory } from "../../../api/models";
import { useMemoryPlace } from "../../../hooks/useMemoryPlace";
import { useResource } from "../../../hooks/useResource";
import { formatBytes } from "../../../lib/bytes";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { toastDone } from "../../../lib/toast";
import { QUANTIZATION_LABEL } from "../../../lib/labels";
import { useModelsStore } from "../../../stores/modelsStore";
import { useSystemStore } from "../../../stores/systemStore";
import type { MemoryOption, Model, QuantizeRequest } from "../../../types/model";
import { DialogButtons } from "../../common/DialogButtons";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { TryAgain } from "../../common/TryAgain";
import { FitLabel } from "../../common/VerdictLabel";
import { MemoryBar } from "../memory/MemoryBar";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import classes from "./QuantizeDialog.module.css";

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
      toastDone(`Quantizing ${model.name} to ${QUANTIZATION_LABEL[wanted]}`, "The copy appears beside the original.");
      onClose();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  return (
    <Stack>
      <ConnectionNotice />
      <Radio.Group
        label="Precision"
        value={wanted}
        onChange={(value) => {
          setWanted(value);
          setProblem(null);
        }}
      >
        <Stack gap="sm" mt={4}>
          {(["4bit", "8bit"] as const).map((name) => (
            <Option
              key={name}
              quantization={name}
              option={option(name)}
              now={option("none")?.weights_bytes ?? model.memory_estimated_bytes}
              approximate={estimate.data?.method === "approximate"}
            />
          ))}
        </Stack>
      </Radio.Group>
      {estimate.loading && <Placeholder h={32} label="Computing the sizes" />}
      {estimate.problem !== null && (
        <ProblemAlert title="The sizes are not available" problem={estimate.problem} tone="warn">
          <TryAgain onClick={estimate.reload} />
        </ProblemAlert>
      )}
      <Checkbox
        size="md"
        checked={keep}
        onChange={(event) => setKeep(event.currentTarget.checked)}
        label="Keep the original files"
        description={
          keep
            ? "Both can be used, and another precision can be made without a download."
            : `Deleted once the copy works, unless they are loaded or another model needs them. Frees ${formatBytes(model.disk_bytes)}.`
        }
      />
      <Text size="sm" c="dimmed">
        The copy is loaded and compared with the original; the drift is shown when it is ready.
      </Text>
      {problem !== null && <ProblemAlert title="The quantization did not start" problem={problem} />}
      <DialogButtons>
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        <ServerButton
          loading={busy}
          disabled={option(wanted)?.available === false}
          onClick={() => void confirm()}
          data-autofocus
        >
          Quantize to {QUANTIZATION_LABEL[wanted]}
        </ServerButton>
      </DialogButtons>
    </Stack>
  );
}

interface OptionProps {
  quantization: QuantizeRequest["quantization"];
  /** Not known yet while undefined. */
  option: MemoryOption | undefined;
  /** What the model takes as it is. */
  now: number | null;
  approximate: boolean;
}

/** One precision: its sizes in words, and in the memory of this machine. */
function Option({ quantization, option, now, approximate }: OptionProps) {
  const about = useId();
  const fit = useId();
  const system = useSystemStore((state) => state.system);
  const place = useMemoryPlace();
  const weights = option?.available === true ? option.weights_bytes : null;
  return (
    <div className={classes.option}>
      <div className={classes.head}>
        <Radio
          value={quantization}
          label={<PrecisionBadge quantization={quantization} />}
          disabled={option?.available === false}
          aria-describedby={`${fit} ${about}`}
        />
        <span id={fit} className={classes.fit}>
          {weights !== null && system !== null && <FitLabel bytes={weights} devices={system.devices} />}
        </span>
      </div>
      <div id={about} className={classes.facts}>
        {option?.available === true && (
          <>
            <div>
              {sizes(option, now, approximate ? "≈ " : "").map((line) => (
                <Text key={line} size="sm" className="num">
                  {line}
                </Text>
              ))}
            </div>
            {place !== undefined && weights !== null && (
              <MemoryBar quantization={quantization} parts={[{ label: "weights", bytes: weights }]} place={place} />
            )}
          </>
        )}
        {option?.note != null && (
          <Text size="sm" c="dimmed">
            {option.note}
          </Text>
        )}
      </div>
    </div>
  );
}

function sizes({ weights_bytes, disk_bytes }: MemoryOption, now: number | null, about: string): string[] {
  const before = now === null ? "" : ` instead of ${formatBytes(now)}`;
  return [
    `${about}${formatBytes(weights_bytes)} in memory${before}`,
    `${about}${formatBytes(disk_bytes)} more on the disk`,
  ];
}
