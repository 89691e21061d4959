import { Button, Group, NativeSelect } from "@mantine/core";
import type { FieldErrors } from "../../hooks/useTrainings";
import { deviceLabel } from "../../lib/fit";
import { ARCHITECTURE_NOTE, ARCHITECTURE_LABEL, defaultK, type TrainingDraft, usesK } from "../../lib/training";
import { DTYPE_LABEL, sentence } from "../../lib/labels";
import { useSystemStore } from "../../stores/systemStore";
import type { Dtype, SaeArchitecture } from "../../types/training";
import { Fields, WideField } from "../common/Fields";
import { NumberField } from "../common/NumberField";
import classes from "./SaeFields.module.css";

interface Props {
  draft: TrainingDraft;
  errors: FieldErrors;
  /** The width of the hook point. */
  width: number | undefined;
  onChange: (change: Partial<TrainingDraft>) => void;
}

/** The dictionary: how many features, and what keeps most of them silent. */
export function SaeFields({ draft, errors, width, onChange }: Props) {
  const { architecture, expansion } = draft;
  return (
    <Fields>
      <WideField>
        <NativeSelect
          label="SAE architecture"
          description={ARCHITECTURE_NOTE[architecture]}
          inputWrapperOrder={["label", "input", "description", "error"]}
          value={architecture}
          error={errors.architecture}
          onChange={(event) => onChange({ architecture: event.currentTarget.value as SaeArchitecture })}
          data={(Object.keys(ARCHITECTURE_LABEL) as SaeArchitecture[]).map((value) => ({
            value,
            label: ARCHITECTURE_LABEL[value],
          }))}
        />
      </WideField>
      <NumberField
        label="Expansion factor"
        description={
          width === undefined || expansion === ""
            ? "Features per dimension"
            : `d_sae = ${expansion} × ${width.toLocaleString("en")} = ${(expansion * width).toLocaleString("en")} features`
        }
        min={2}
        max={64}
        allowDecimal={false}
        value={expansion}
        error={errors.expansion_factor}
        onChange={(value) => onChange({ expansion: value })}
      />
      {usesK(architecture) ? (
        <NumberField
          label="k"
          description={`Active features per token${width === undefined ? "" : `; ${defaultK(width)} if empty`}`}
          optional
          min={1}
          allowDecimal={false}
          value={draft.k}
          error={errors.k}
          onChange={(value) => onChange({ k: value })}
        />
      ) : (
        <NumberField
          label="L1 coefficient"
          description="Higher is sparser, 1 to 5 is common; 1 if empty"
          optional
          min={0}
          step={0.5}
          value={draft.l1}
          error={errors.l1_coefficient}
          onChange={(value) => onChange({ l1: value })}
        />
      )}
    </Fields>
  );
}

const PRESETS = [
  ["Trial, 2 M", 2_000_000],
  ["Normal, 50 M", 50_000_000],
] as const;

/** How long, how fast, and where. A quantized model is trained on in its own precision. */
export function ScheduleFields({
  draft,
  errors,
  quantized,
  beginnings,
  onChange,
}: Omit<Props, "width"> & { quantized: boolean; beginnings: string[] }) {
  // An earlier run's beginning may be of another tokenizer, or not told yet.
  const tokens = [...new Set([...beginnings, draft.beginning])].filter((token) => token !== "auto" && token !== "none");
  const here = (useSystemStore((state) => state.system?.devices) ?? []).map(({ id }) => id);
  // An earlier run's device may be of another machine, or not told yet.
  const devices = draft.device === "auto" || here.includes(draft.device) ? here : [...here, draft.device];
  return (
    <Fields>
      <WideField>
        <NumberField
          label="Tokens to train on"
          min={1}
          step={1_000_000}
          allowDecimal={false}
          value={draft.tokens}
          error={errors.training_tokens}
          onChange={(value) => onChange({ tokens: value })}
        />
        <Group gap={8} mt={6}>
          {PRESETS.map(([label, tokens]) => (
            <Button
              key={label}
              className={classes.preset}
              size="compact-xs"
              variant={draft.tokens === tokens ? "light" : "default"}
              aria-pressed={draft.tokens === tokens}
              onClick={() => onChange({ tokens })}
            >
              {label}
            </Button>
          ))}
        </Group>
      </WideField>
      <NumberField
        label="Context"
        description="Tokens the model reads at once"
        min={32}
        max={4096}
        step={32}
        allowDecimal={false}
        value={draft.context}
        error={errors.context_size}
        onChange={(value) => onChange({ context: value })}
      />
      <NumberField
        label="Batch"
        description="Tokens per training step"
        min={64}
        max={65_536}
        step={1024}
        allowDecimal={false}
        value={draft.batch}
        error={errors.batch_tokens}
        onChange={(value) => onChange({ batch: value })}
      />
      <NumberField
        label="Learning rate"
        min={0}
        max={1}
        step={0.0001}
        decimalScale={8}
        value={draft.learningRate}
        error={errors.learning_rate}
        onChange={(value) => onChange({ learningRate: value })}
      />
      <NativeSelect
        label="Device"
        description="Automatic: the first GPU, else the CPU"
        inputWrapperOrder={["label", "input", "description", "error"]}
        value={draft.device}
        error={errors.device}
        onChange={(event) => onChange({ device: event.currentTarget.value })}
        data={[
          { value: "auto", label: "Automatic" },
          ...devices.map((id) => ({ value: id, label: id === "cpu" ? "CPU" : sentence(deviceLabel(id)) })),
        ]}
      />
      <NativeSelect
        label="Model's precision"
        description={quantized ? "A quantized model keeps its precision" : undefined}
        inputWrapperOrder={["label", "input", "description", "error"]}
        value={draft.dtype}
        error={errors.dtype}
        onChange={(event) => onChange({ dtype: event.currentTarget.value as Dtype })}
        data={(Object.keys(DTYPE_LABEL) as Dtype[]).map((value) => ({
          value,
          label: DTYPE_LABEL[value],
          disabled: quantized && value !== "auto",
        }))}
      />
      <NativeSelect
        label="Each context begins with"
        description="Automatic: the tokenizer's beginning-of-text token"
        inputWrapperOrder={["label", "input", "description", "error"]}
        value={draft.beginning}
        error={errors.beginning}
        onChange={(event) => onChange({ beginning: event.currentTarget.value })}
        data={[
          { value: "auto", label: "Automatic" },
          { value: "none", label: "The text itself" },
          ...tokens.map((token) => ({ value: token, label: token })),
        ]}
      />
      <NumberField
        label="Skipped positions"
        description="At the start of each context, where activations are outliers"
        min={0}
        max={16}
        allowDecimal={false}
        value={draft.skipPositions}
        error={errors.skip_positions}
        onChange={(value) => onChange({ skipPositions: value })}
      />
      <NumberField
        label="Seed"
        min={0}
        max={2 ** 31 - 1}
        allowDecimal={false}
        value={draft.seed}
        error={errors.seed}
        onChange={(value) => onChange({ seed: value })}
      />
      <NumberField
        label="Checkpoint every"
        description="Minutes; a stopped run resumes from there"
        min={0.1}
        max={1440}
        value={draft.checkpointMinutes}
        error={errors.checkpoint_seconds}
        onChange={(value) => onChange({ checkpointMinutes: value })}
      />
    </Fields>
  );
}
