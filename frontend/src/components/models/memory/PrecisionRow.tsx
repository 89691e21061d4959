import { ActionIcon } from "@mantine/core";
import { ChevronDown, ChevronRight } from "lucide-react";
import { useId, useState } from "react";
import type { PlannedOption } from "../../../hooks/useMemoryPlan";
import { formatBytes } from "../../../lib/bytes";
import { fitSentence } from "../../../lib/fit";
import { fasterDtypeLabel, type PartName } from "../../../lib/memory";
import { QUANTIZATION_LABEL, sentence, VERDICT_LABEL } from "../../../lib/labels";
import type { MemoryEstimate } from "../../../types/model";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { VerdictLabel } from "../../common/VerdictLabel";
import type { DiskUse } from "./PrecisionTable";
import classes from "./PrecisionTable.module.css";

interface Props {
  planned: PlannedOption;
  dtype: string | null;
  /** The dtype in which the server's processor is faster than in that one. */
  faster: MemoryEstimate["fast_dtype"];
  approximate: boolean;
  longest: number;
  /** Bytes at the right end of the scale that all rows share. */
  end: number;
  selected: boolean;
  pending: boolean;
  mark: string | undefined;
  /** Undefined where there is no such column. */
  disk: DiskUse | null | undefined;
  /** Why it is not available stands above, for all rows. */
  refused: boolean;
  onSelect: ((quantization: PlannedOption["quantization"]) => void) | undefined;
}

/** One precision: what it needs to run, part by part, and whether that fits; the rest on demand. */
export function PrecisionRow(props: Props) {
  const { planned, selected, onSelect, disk, refused, end } = props;
  const { option, quantization, need, fits } = planned;
  const [open, setOpen] = useState(false);
  const id = useId();
  const details = detailsOf(props);
  const Chevron = open ? ChevronDown : ChevronRight;
  const pick = onSelect !== undefined && option.available ? () => onSelect(quantization) : undefined;
  return (
    <tbody role="rowgroup" className={classes.group} data-selected={selected || undefined}>
      <tr
        role="row"
        className={classes.row}
        data-pick={pick !== undefined || undefined}
        data-disabled={!option.available || undefined}
        onClick={pick}
      >
        <th role="rowheader" scope="row">
          <Name {...props} id={id} />
        </th>
        {option.available ? (
          <>
            <td role="cell" className={classes.barCell}>
              <Bar need={need} quantization={quantization} fits={fits} end={end} />
            </td>
            <Figures {...props} />
          </>
        ) : (
          <td role="cell" colSpan={5} className={classes.note}>
            {quantization === "none" && option.weights_bytes !== null && (
              <>{formatBytes(option.weights_bytes)} of weights. </>
            )}
            {refused ? "Not available." : (option.note ?? "Not available for this model.")}
          </td>
        )}
        {disk !== undefined && (
          <td role="cell" data-label="On disk">
            {disk === null ? "–" : figure(disk.bytes, props.pending)}
          </td>
        )}
        <td role="cell" className={classes.verdictCell} id={`${id}-verdict`}>
          {option.available && <FitOf {...props} />}
        </td>
        <td role="cell" className={classes.more}>
          {details.length > 0 && (
            <ActionIcon
              size={28}
              aria-label={`Details of ${QUANTIZATION_LABEL[quantization]}`}
              aria-expanded={open}
              onClick={(event) => {
                event.stopPropagation();
                setOpen(!open);
              }}
            >
              <Chevron size={16} aria-hidden />
            </ActionIcon>
          )}
        </td>
      </tr>
      {open && details.length > 0 && (
        <tr role="row" className={classes.details}>
          <td role="cell" colSpan={disk === undefined ? 8 : 9}>
            <ul>
              {details.map((words) => (
                <li key={words}>{words}</li>
              ))}
            </ul>
          </td>
        </tr>
      )}
    </tbody>
  );
}

function Name({ planned, dtype, selected, mark, onSelect, id }: Props & { id: string }) {
  const { option, quantization } = planned;
  const words = [quantization === "none" ? dtype : null, mark].filter((word) => word != null).join(" · ");
  const name = (
    <span className={classes.name} id={`${id}-name`}>
      <PrecisionBadge quantization={quantization} />
      {words !== "" && <span className={classes.words}> {words}</span>}
    </span>
  );
  if (onSelect === undefined) return name;
  return (
    <label className={classes.choice}>
      <input
        type="radio"
        name="quantization"
        value={quantization}
        checked={selected}
        disabled={!option.available}
        onChange={() => onSelect(quantization)}
        onClick={(event) => event.stopPropagation()}
        aria-labelledby={`${id}-name`}
        aria-describedby={`${id}-verdict`}
      />
      {name}
    </label>
  );
}

function figure(bytes: number | null, pending: boolean, sign = ""): string {
  if (bytes === null) return pending ? "…" : "unknown";
  return `${sign}${formatBytes(bytes)}`;
}

function Figures({ planned: { need, option }, approximate, pending }: Props) {
  const of = (name: PartName) => {
    const part = need.parts.find((candidate) => candidate.name === name);
    return part === undefined ? 0 : part.bytes;
  };
  const about = approximate ? "≈ " : "";
  const total = need.partial ? "≥ " : approximate || need.scaled ? "≈ " : "";
  return (
    <>
      <td role="cell" data-label="Weights">
        {figure(option.weights_bytes, pending, about)}
      </td>
      <td role="cell" data-label="KV cache">
        {figure(of("cache"), pending, about)}
      </td>
      <td role="cell" data-label="Activations">
        {figure(of("activations"), pending, approximate || need.scaled ? "≈ " : "")}
      </td>
      <td role="cell" data-label="Total" className={classes.total} title={need.partial ? "At least" : undefined}>
        {figure(need.total, pending, total)}
      </td>
    </>
  );
}

/** The kindest verdict, and by how much on the device that gave it. */
function FitOf({ planned: { need, fits, verdict }, pending, approximate }: Props) {
  const fit = fits.find((candidate) => candidate.verdict === verdict);
  const left = fit?.free == null || need.required === null ? null : fit.free - need.required;
  const where = fits.length > 1 && fit?.device === "cpu" && verdict !== "does_not_fit" ? " in system memory" : "";
  if (verdict === "unknown" && left === null)
    return <VerdictLabel verdict="unknown">{pending ? "computing" : "unknown"}</VerdictLabel>;
  return (
    <>
      <VerdictLabel verdict={verdict}>
        {approximate && need.partial && verdict !== "unknown" ? "≈ " : ""}
        {VERDICT_LABEL[verdict]}
        {where}
      </VerdictLabel>
      {left !== null && <span className={classes.left}>{room(left, need.partial)}</span>}
    </>
  );
}

function room(left: number, partial: boolean): string {
  if (left < 0) return `${partial ? "at least " : ""}${formatBytes(-left)} short`;
  return `${partial ? "at most " : ""}${formatBytes(left)} left`;
}

/** What the row leaves out, a sentence or two words each. */
function detailsOf({ planned, longest, faster, disk, refused }: Props): string[] {
  const { option, need, fits } = planned;
  const bytesOf = (name: PartName) => need.parts.find((part) => part.name === name)?.bytes ?? 0;
  const reach = fits.map((fit) => {
    const device = fits.length > 1 ? fitSentence(fit.device, fit.verdict, need.required, fit.free, need.partial) : null;
    const far =
      fit.reach === null || fit.reach === 0
        ? null
        : `${fit.verdict === "fits" ? "longest context" : "longest context that fits"}: ${
            fit.reach === longest
              ? `${longest.toLocaleString("en")} tokens (its limit)`
              : `≈ ${fit.reach.toLocaleString("en")} tokens`
          }`;
    return [device, far].filter((words) => words !== null).join("; ");
  });
  const more = [
    ...reach,
    bytesOf("state") > 0 && `${formatBytes(bytesOf("state"))} of the weights are quantization state`,
    bytesOf("overhead") > 0 && `overhead ${formatBytes(bytesOf("overhead"))}`,
    need.required !== null &&
      need.total !== null &&
      need.required > need.total &&
      `peak while loading ${formatBytes(need.required)}`,
    faster != null && fasterDtypeLabel(faster, option.fast_dtype_bytes),
    option.note,
  ];
  const words = option.available ? more : refused || option.note === null ? [] : [option.note];
  return [...words, disk?.note].filter((each): each is string => typeof each === "string" && each !== "").map(sentence);
}

/** The parts one after the other, with the devices' free memory as lines; the cells beside it say the same. */
function Bar({
  need,
  quantization,
  fits,
  end,
}: Pick<Props, "end"> & Pick<PlannedOption, "need" | "quantization" | "fits">) {
  const percent = (bytes: number) => `${Math.min(100, (100 * bytes) / end)}%`;
  const taken = fits[0];
  const most = Math.max(...fits.map(({ free }) => free ?? 0));
  const { required, total } = need;
  if (total === null || end <= 0) return <span className={classes.bar} aria-hidden />;
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
        {required !== null && required > total && (
          <span className={classes.peak} style={{ width: percent(required - total) }} />
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
