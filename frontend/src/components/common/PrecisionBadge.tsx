import { precisionLabel } from "../../lib/labels";
import type { Quantization } from "../../types/model";
import classes from "./PrecisionBadge.module.css";

const FILLED: Record<Quantization, number> = { none: 4, "8bit": 2, "4bit": 1 };

interface Props {
  quantization: Quantization;
  /** Of full precision; left out where it stands elsewhere. */
  dtype?: string | null | undefined;
}

/** The precision as a hue, a word and a glyph of how many of four quarters are kept. */
export function PrecisionBadge({ quantization, dtype = null }: Props) {
  return (
    <span className={classes.badge} data-quantization={quantization}>
      <svg width="14" height="10" viewBox="0 0 14 10" aria-hidden>
        {[0, 1, 2, 3].map((index) => (
          <rect
            key={index}
            x={index * 3.6 + 0.4}
            y="0.5"
            width="2.4"
            height="9"
            rx="0.6"
            fill={index < FILLED[quantization] ? "currentColor" : "none"}
            stroke="currentColor"
            strokeWidth="0.8"
          />
        ))}
      </svg>
      {precisionLabel({ quantization, dtype })}
    </span>
  );
}
