import type { Quantization } from "../../types/model";
import classes from "./MemoryBar.module.css";

export interface MemoryPart {
  label: string;
  bytes: number;
}

interface Props {
  quantization: Quantization;
  /** Drawn one after the other; the first is the weights, in the precision's own hue. */
  parts: MemoryPart[];
  /** The device whose whole memory is the bar's width; the mark stands where its free memory ends. */
  total: number;
  free: number;
}

/** A model's memory in the yard's scale. Words stand beside it, so it is hidden from assistive technology. */
export function MemoryBar({ quantization, parts, total, free }: Props) {
  const percent = (bytes: number) => `${Math.min(100, (100 * bytes) / total)}%`;
  return (
    <div className={classes.bar} aria-hidden>
      {parts.map((part, index) => (
        <div
          key={part.label}
          className={classes.part}
          data-quantization={quantization}
          data-part={index}
          style={{ width: percent(part.bytes) }}
        />
      ))}
      <div className={classes.mark} style={{ left: percent(free) }} />
    </div>
  );
}
