import { Checkbox } from "@mantine/core";
import { formatBytes } from "../../lib/bytes";

interface Props {
  checked: boolean;
  /** What it would free; counted in the total once it is ticked. */
  bytes: number;
  onChange: (checked: boolean) => void;
}

/** Whether files that only quantized copies keep, as their original, are removed as well. */
export function OriginalBox({ checked, bytes, onChange }: Props) {
  return (
    <Checkbox
      size="md"
      checked={checked}
      onChange={(event) => onChange(event.currentTarget.checked)}
      label={checked ? "Also remove the original files" : `Also remove the original files, ${formatBytes(bytes)}`}
      description="The quantized copies work without them. Another precision would need a new download."
    />
  );
}
