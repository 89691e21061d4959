import type { Place } from "../../../lib/yard";
import type { Quantization } from "../../../types/model";
import classes from "./MemoryBar.module.css";

export interface MemoryPart {
  label: string;
  bytes: number;
}

interface Props {
  quantization: Quantization;
  /** Drawn one after the other; the first is the weights, in the precision's own hue. */
  parts: MemoryPart[];
  place: Place;
  /** The model is loaded there: its block takes the place of a part of what is in use. */
  inside?: boolean;
}

/** One device's bar of the yard in small, with this model in it. Words stand beside it, so it is hidden from
 * assistive technology. */
export function MemoryBar({ quantization, parts, place, inside = false }: Props) {
  const percent = (bytes: number) => `${Math.min(100, (100 * bytes) / place.total)}%`;
  const wanted = parts.reduce((sum, part) => sum + part.bytes, 0);
  const used = place.total - place.free - (inside ? wanted : 0);
  return (
    <div className={classes.bar} data-over={used + wanted > place.total || undefined} aria-hidden>
      <div className={classes.used} style={{ width: percent(Math.max(0, used)) }} />
      {parts.map((part, index) => (
        <div
          key={part.label}
          className={classes.part}
          data-quantization={quantization}
          data-part={index}
          style={{ width: percent(part.bytes) }}
        />
      ))}
    </div>
  );
}
