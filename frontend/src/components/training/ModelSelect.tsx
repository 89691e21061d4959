import { Select, Stack, Text } from "@mantine/core";
import { formatBytes, formatCount } from "../../lib/bytes";
import { modelMemory, reasonSentences } from "../../lib/training";
import { precisionLabel } from "../../lib/labels";
import type { Model } from "../../types/model";
import { PrecisionBadge } from "../common/PrecisionBadge";
import classes from "./ModelSelect.module.css";

interface Props {
  models: Model[];
  value: Model | undefined;
  error: string | undefined;
  onChange: (id: string) => void;
}

/** The models that are ready, each with its precision and what it takes in memory. */
export function ModelSelect({ models, value, error, onChange }: Props) {
  const byId = new Map(models.map((model) => [model.id, model]));
  // Those that cannot be trained on come last, each with its reason.
  const inOrder = [...models.filter(canBe), ...models.filter((model) => !canBe(model))];
  return (
    <Stack gap={6}>
      <Select
        label="Model"
        placeholder="Choose a model that is ready"
        searchable
        allowDeselect={false}
        nothingFoundMessage="No ready model has this name"
        data={inOrder.map((model) => ({
          value: model.id,
          disabled: !canBe(model),
          label: `${model.model_id}, ${precisionLabel(model).toLowerCase()}`,
        }))}
        value={value?.id ?? null}
        error={error}
        onChange={(id) => {
          if (id !== null) onChange(id);
        }}
        renderOption={({ option }) => {
          const model = byId.get(option.value);
          return model === undefined ? option.label : <Choice model={model} />;
        }}
        comboboxProps={{ transitionProps: { duration: 0 } }}
      />
      {value !== undefined && (
        <Text size="sm" c="dimmed" className="num">
          <PrecisionBadge quantization={value.quantization} dtype={value.dtype} /> {facts(value).join(" · ")}
        </Text>
      )}
    </Stack>
  );
}

function canBe({ training }: Model): boolean {
  return training?.compatible !== false;
}

function Choice({ model }: { model: Model }) {
  const { bytes } = modelMemory(model);
  const verdict = model.training;
  return (
    <span className={classes.option}>
      <span className="mono">{model.model_id}</span>
      <span className={`${classes.quiet} num`}>
        <PrecisionBadge quantization={model.quantization} dtype={model.dtype} /> {formatBytes(bytes)}
        {verdict?.compatible === null && " · not verified"}
      </span>
      {verdict?.compatible === false && <span className={classes.quiet}>{reasonSentences(verdict.reasons)[0]}</span>}
    </span>
  );
}

function facts(model: Model): string[] {
  const { bytes, how } = modelMemory(model);
  return [
    model.num_parameters === null ? null : `${formatCount(model.num_parameters)} parameters`,
    model.num_layers === null ? null : `${model.num_layers} layers`,
    model.hidden_size === null ? null : `hidden size ${model.hidden_size.toLocaleString("en")}`,
    bytes === null ? "memory unknown" : `${formatBytes(bytes)} of memory, ${how}`,
  ].filter((fact) => fact !== null);
}
