import { formatBytes } from "../../lib/bytes";
import { fitSentence } from "../../lib/fit";
import type { Place } from "../../lib/yard";
import type { MemoryOption } from "../../types/model";
import { MemoryBar } from "./MemoryBar";
import classes from "./QuantOption.module.css";
import { QuantBadge } from "./QuantBadge";
import { VerdictWords } from "./Yard";

interface Props {
  option: MemoryOption;
  dtype: string | null;
  approximate: boolean;
  selected: boolean;
  scale: Place | undefined;
  onSelect: () => void;
}

/** One precision: what it needs to run, where that fits, what is downloaded and kept. */
export function QuantOption({ option, dtype, approximate, selected, scale, onSelect }: Props) {
  const { quantization, total_bytes: total, available } = option;
  const parts = partsOf(option);
  return (
    <label className={classes.option} data-selected={selected || undefined} data-disabled={!available || undefined}>
      <input
        type="radio"
        name="quantization"
        value={quantization}
        checked={selected}
        disabled={!available}
        onChange={onSelect}
      />
      <span className={classes.body}>
        <span className={classes.head}>
          <QuantBadge quantization={quantization} dtype={quantization === "none" ? dtype : null} />
          {available && (
            <span className={`${classes.total} num`}>
              {approximate && total !== null && "≈ "}
              {total === null ? "memory not known" : `${formatBytes(total)} to run`}
            </span>
          )}
        </span>
        {available && (
          <>
            {scale !== undefined && parts.length > 0 && (
              <MemoryBar quantization={quantization} parts={parts} place={scale} />
            )}
            <span className={`${classes.line} num`}>
              <span className={classes.detail}>
                {parts.map((part) => `${part.label} ${formatBytes(part.bytes)}`).join(" + ")}
                {option.note !== null && <span>{option.note}</span>}
              </span>
              <span className={classes.verdicts}>
                {option.verdicts.map((verdict) => (
                  <VerdictWords key={verdict.device} verdict={verdict.verdict}>
                    {fitSentence(verdict.device, total, verdict.free_bytes)}
                  </VerdictWords>
                ))}
              </span>
            </span>
          </>
        )}
        {!available && option.note !== null && <span className={classes.detail}>{option.note}</span>}
      </span>
    </label>
  );
}

function partsOf(option: MemoryOption) {
  return [
    { label: "weights", bytes: option.weights_bytes ?? 0 },
    { label: "cache", bytes: option.kv_cache_bytes ?? 0 },
    { label: "working memory", bytes: (option.activation_bytes ?? 0) + (option.overhead_bytes ?? 0) },
  ].filter((part) => part.bytes > 0);
}
