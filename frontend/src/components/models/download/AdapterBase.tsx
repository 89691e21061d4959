import { Checkbox, Text } from "@mantine/core";
import { formatBytes } from "../../../lib/bytes";
import { QUANTIZATION_LABEL, STATUS_LABEL } from "../../../lib/labels";
import type { AdapterPreview, ModelInfo } from "../../../types/model";

interface Props {
  adapter: AdapterPreview;
  /** Its base is downloaded, too. */
  checked: boolean;
  onChange: (checked: boolean) => void;
}

/** Offers the model that an adapter changes, without which it is of no use. */
export function AdapterBase({ adapter, checked, onChange }: Props) {
  const { base, base_model, base_revision } = adapter;
  const name = base_revision === null ? base_model : `${base_model}@${base_revision}`;
  if (base === null) return null;
  if (base.status !== null && base.quantization !== null) {
    const state = `${QUANTIZATION_LABEL[base.quantization]}, ${STATUS_LABEL[base.status].toLowerCase()}`;
    return <Text size="sm">{`Base model ${name}: installed (${state})`}</Text>;
  }
  if (base.problem !== null) return <Text size="sm">{`Base model ${name} can't be downloaded: ${base.problem}`}</Text>;
  return (
    <Checkbox
      checked={checked}
      onChange={(event) => onChange(event.currentTarget.checked)}
      label={`Also download the base model, ${name}`}
      description={base.missing_bytes === null ? undefined : `${formatBytes(base.missing_bytes)} more to download.`}
    />
  );
}

/** An adapter whose base must be fetched with it, and can be. */
export function lacksBase({ adapter }: ModelInfo): boolean {
  return adapter !== null && adapter.base !== null && adapter.base.id === null;
}

/** What is downloaded and then on the disk for an adapter and its base together. */
export function withBase(info: ModelInfo): ModelInfo {
  const base = info.adapter?.base;
  return {
    ...info,
    size_bytes: info.size_bytes + (base?.size_bytes ?? 0),
    missing_bytes: info.missing_bytes + (base?.missing_bytes ?? 0),
  };
}
