import { useId } from "react";
import type { DeviceFit, PlannedOption } from "../../../hooks/useMemoryPlan";
import { formatBytes } from "../../../lib/bytes";
import { fitSentence } from "../../../lib/fit";
import { fasterDtypeLabel, type Need, PART_LABEL } from "../../../lib/memory";
import type { MemoryEstimate } from "../../../types/model";
import classes from "./QuantOption.module.css";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { VerdictLabel } from "../../common/VerdictLabel";

interface Props {
  planned: PlannedOption;
  dtype: string | null;
  /** The dtype in which the server's processor is faster than in that one. */
  faster: MemoryEstimate["fast_dtype"];
  approximate: boolean;
  /** The longest context the model was made for. */
  longest: number;
  /** Bytes at the right end of the scale that all options share. */
  end: number;
  selected: boolean;
  /** What is known of the weights alone; the other parts are on their way. */
  weightsOnly: boolean;
  /** What sets this precision apart, as a word or two beside its name. */
  mark: string | undefined;
  /** What it means for the disk. */
  files: string | undefined;
  /** Left out where there is nothing to choose. */
  onSelect: ((quantization: PlannedOption["quantization"]) => void) | undefined;
}

/** One precision: what it needs to run, part by part, and where that fits. */
export function QuantOption(props: Props) {
  const { planned, dtype, faster, approximate, longest, end, selected, weightsOnly, mark, files, onSelect } = props;
  const { option, quantization, need, fits } = planned;
  const id = useId();
  const body = (
    <span className={classes.body}>
      <span className={classes.head} id={`${id}-name`}>
        <PrecisionBadge quantization={quantization} dtype={quantization === "none" ? dtype : null} />
        {mark !== undefined && <span className={classes.mark}>{mark}</span>}
        {option.available ? (
          <span className={`${classes.total} num`}>{formatTotal(need, approximate || need.scaled)}</span>
        ) : (
          quantization === "none" &&
          option.weights_bytes !== null && (
            <span className={`${classes.total} num`}>{formatBytes(option.weights_bytes)} as stored</span>
          )
        )}
      </span>
      <span className={classes.details} id={`${id}-more`}>
        {option.available ? (
          <>
            <Bar need={need} quantization={quantization} fits={fits} end={end} />
            <Parts need={need} quantization={quantization} approximate={approximate} weightsOnly={weightsOnly} />
            <span className={`${classes.fits} num`}>
              {fits.map((fit) => (
                <Fit key={fit.device} fit={fit} need={need} longest={longest} />
              ))}
            </span>
            {need.required !== null && need.total !== null && need.required > need.total && (
              <span className={`${classes.loading} num`}>
                <span className={classes.swatch} data-part="peak" aria-hidden />
                Peak while loading: {formatBytes(need.required)}.
              </span>
            )}
            {faster != null && (
              <span className={`${classes.quiet} num`}>{fasterDtypeLabel(faster, option.fast_dtype_bytes)}</span>
            )}
            {files !== undefined && <span className={`${classes.quiet} num`}>{files}</span>}
            {option.note !== null && <span className={classes.quiet}>{option.note}</span>}
          </>
        ) : (
          <>
            {files !== undefined && <span className={`${classes.quiet} num`}>{files}</span>}
            <span className={classes.quiet}>{option.note ?? "Not available for this model."}</span>
          </>
        )}
      </span>
    </span>
  );
  const marks = { "data-selected": selected || undefined, "data-disabled": !option.available || undefined };
  if (onSelect === undefined)
    return (
      <div className={classes.option} data-plain {...marks}>
        {body}
      </div>
    );
  return (
    <label className={classes.option} {...marks}>
      <input
        type="radio"
        name="quantization"
        value={quantization}
        checked={selected}
        disabled={!option.available}
        onChange={() => onSelect(quantization)}
        aria-labelledby={`${id}-name`}
        aria-describedby={`${id}-more`}
      />
      {body}
    </label>
  );
}

function formatTotal({ total, partial }: Need, approximate: boolean): string {
  if (total === null) return "memory unknown";
  return `${partial ? "at least " : ""}${approximate ? "≈ " : ""}${formatBytes(total)} to run`;
}

function Parts({
  need,
  quantization,
  approximate,
  weightsOnly,
}: Pick<PlannedOption, "need" | "quantization"> & Pick<Props, "approximate" | "weightsOnly">) {
  return (
    <span className={`${classes.parts} num`} data-quantization={quantization}>
      {need.parts.map(({ name, bytes }) => (
        <span key={name} className={classes.part}>
          <span className={classes.swatch} data-part={name} aria-hidden />
          {PART_LABEL[name]}{" "}
          {bytes === null
            ? weightsOnly
              ? "…"
              : "unknown"
            : `${approximate || (name === "activations" && need.scaled) ? "≈ " : ""}${formatBytes(bytes)}`}
        </span>
      ))}
    </span>
  );
}

function Fit({ fit, need, longest }: { fit: DeviceFit; need: Need; longest: number }) {
  return (
    <span className={classes.fit}>
      <VerdictLabel verdict={fit.verdict}>
        {fitSentence(fit.device, fit.verdict, need.required, fit.free, need.partial)}
      </VerdictLabel>
      {fit.reach !== null && fit.reach > 0 && (
        <span className={classes.quiet}>
          {fit.verdict === "fits" ? "longest context" : "longest context that fits"}:{" "}
          {fit.reach === longest
            ? `${longest.toLocaleString("en")} tokens (its limit)`
            : `≈ ${fit.reach.toLocaleString("en")} tokens`}
        </span>
      )}
    </span>
  );
}

/** The parts one after the other, with the devices' free memory as lines; the words beside it say the same. */
function Bar({
  need,
  quantization,
  fits,
  end,
}: Pick<Props, "end"> & Pick<PlannedOption, "need" | "quantization" | "fits">) {
  if (need.total === null || end <= 0) return null;
  const percent = (bytes: number) => `${Math.min(100, (100 * bytes) / end)}%`;
  const taken = fits[0];
  const most = Math.max(...fits.map(({ free }) => free ?? 0));
  const { required } = need;
  return (
    <span className={classes.bar} data-quantization={quantization} aria-hidden>
      {taken?.free != null && taken.total !== null && taken.free < end && (
        <span
          className={classes.taken}
          style={{ left: percent(taken.free), width: percent(Math.min(taken.total, end) - taken.free) }}
        />
      )}
      <span className={classes.stack}>
        {need.parts.map(({ name, bytes }) =>
          bytes === null ? null : (
            <span key={name} className={classes.block} data-part={name} style={{ width: percent(bytes) }} />
          ),
        )}
        {required !== null && required > need.total && (
          <span className={classes.peak} style={{ width: percent(required - need.total) }} />
        )}
      </span>
      {required !== null && most > 0 && required > most && (
        <span className={classes.over} style={{ left: percent(most), width: percent(required - most) }} />
      )}
      {fits.map(({ device, free }) =>
        free === null || free > end ? null : (
          <span key={device} className={classes.limit} style={{ left: percent(free) }} />
        ),
      )}
    </span>
  );
}
