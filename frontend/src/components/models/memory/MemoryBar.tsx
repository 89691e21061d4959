import type { Place } from "../../../lib/yard";
import type { Quantization } from "../../../types/model";
import { DeviceBar } from "../../common/Bar";
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
  const wanted = parts.reduce((sum, part) => sum + part.bytes, 0);
  return (
    <DeviceBar
      size="small"
      used={place.total - place.free - (inside ? wanted : 0)}
      total={place.total}
      parts={parts.map(({ label, bytes }, index) => ({
        key: label,
        bytes,
        className: classes.part,
        data: { "data-quantization": quantization, "data-part": index },
      }))}
      aria-hidden
    />
  );
}
