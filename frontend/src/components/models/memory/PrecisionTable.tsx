import type { DeviceFit, PlannedOption } from "../../../hooks/useMemoryPlan";
import { formatBytes } from "../../../lib/bytes";
import { deviceLabel } from "../../../lib/fit";
import { sentence } from "../../../lib/labels";
import { axisEnd, axisTicks, PART_LABEL, PARTS } from "../../../lib/memory";
import type { MemoryEstimate, Quantization } from "../../../types/model";
import { PrecisionRow } from "./PrecisionRow";
import classes from "./PrecisionTable.module.css";

export interface DiskUse {
  /** What stands on the disk afterwards; null is unknown. */
  bytes: number | null;
  /** What else is to be said of it. */
  note?: string;
}

export interface TableProps {
  options: PlannedOption[];
  /** Null while the figures are rough ones. */
  estimate: MemoryEstimate | null;
  /** What full precision is stored in. */
  dtype: string | null;
  /** The longest context the model was made for. */
  longest: number;
  selected: Quantization | null;
  /** What is not known yet is on its way. */
  pending: boolean;
  /** What stands beside a precision's name. */
  markOf: (planned: PlannedOption) => string | undefined;
  /** What a precision means for the disk; left out where that is not asked. */
  diskOf?: ((planned: PlannedOption) => DiskUse | null) | undefined;
  /** Said of the disks, below the table. */
  disks?: string[] | undefined;
  /** Left out where the precision is what it is. */
  onPick?: ((quantization: Quantization) => void) | undefined;
}

/** The precisions, one a row, with what each needs part by part on one scale. */
export function PrecisionTable(props: TableProps) {
  const { options, estimate, diskOf, pending } = props;
  const devices = shownDevices(options[0]?.fits ?? []);
  const needs = options.flatMap(({ option, need }) => (option.available ? (need.required ?? []) : []));
  const limits = devices.flatMap(({ free, total }) => [free ?? [], total ?? []].flat());
  const end = axisEnd(needs, limits);
  const shown = new Set(devices.map(({ device }) => device));
  const notes = new Set(options.map(({ option }) => (option.available ? null : option.note)));
  const refusal = options.length > 1 && notes.size === 1 ? [...notes][0] : null;
  return (
    <div className={classes.frame} data-choice={props.onPick !== undefined || undefined}>
      {refusal != null && <p className={classes.refusal}>{refusal}</p>}
      <table className={`${classes.table} num`} role="table" aria-busy={pending}>
        <thead role="rowgroup">
          <tr role="row">
            <th role="columnheader">Precision</th>
            <th role="columnheader" className={classes.wide}>
              Memory
            </th>
            <th role="columnheader">Weights</th>
            <th role="columnheader">KV cache</th>
            <th role="columnheader">Activations</th>
            <th role="columnheader">Total</th>
            {diskOf !== undefined && <th role="columnheader">On disk</th>}
            <th role="columnheader">Verdict</th>
            <th role="columnheader">
              <span className={classes.unseen}>Details</span>
            </th>
          </tr>
        </thead>
        {options.map((planned) => (
          <PrecisionRow
            key={planned.quantization}
            planned={{ ...planned, fits: planned.fits.filter(({ device }) => shown.has(device)) }}
            dtype={props.dtype}
            faster={estimate?.fast_dtype}
            approximate={estimate?.method !== "exact"}
            longest={props.longest}
            end={end}
            selected={planned.quantization === props.selected}
            pending={pending}
            mark={props.markOf(planned)}
            disk={diskOf?.(planned)}
            refused={refusal != null}
            onSelect={props.onPick}
          />
        ))}
        {end > 0 && (
          <tfoot role="presentation" aria-hidden>
            <tr role="presentation">
              <td />
              <td>
                <Axis end={end} devices={devices} />
              </td>
            </tr>
          </tfoot>
        )}
      </table>
      <Legend options={options} devices={devices} all={options[0]?.fits.length ?? 0} end={end} disks={props.disks} />
    </div>
  );
}

/** All devices where there are few; else the accelerator with the most free memory, and system memory. */
function shownDevices(fits: DeviceFit[]): DeviceFit[] {
  if (fits.length <= 3) return fits;
  const roomiest = fits
    .filter(({ device }) => device !== "cpu")
    .reduce((best, fit) => ((fit.free ?? 0) > (best.free ?? 0) ? fit : best));
  return fits.filter((fit) => fit === roomiest || fit.device === "cpu");
}

interface LegendProps extends Pick<TableProps, "options" | "disks"> {
  devices: DeviceFit[];
  /** How many devices there are. */
  all: number;
  end: number;
}

/** What the bars are made of, and what is free on this machine. */
function Legend({ options, devices, all, end, disks = [] }: LegendProps) {
  const parts = PARTS.filter((part) => options.some(({ need }) => need.parts.some(({ name }) => name === part)));
  const peak = options.some(({ need }) => need.total !== null && (need.required ?? 0) > need.total);
  const taken = devices[0]?.free != null && devices[0].free < end;
  return (
    <ul className={`${classes.legend} num`} aria-label="Legend">
      {parts.map((part) => (
        <li key={part}>
          <span className={classes.swatch} data-part={part} aria-hidden />
          {PART_LABEL[part]}
        </li>
      ))}
      {peak && (
        <li>
          <span className={classes.swatch} data-part="peak" aria-hidden />
          peak while loading
        </li>
      )}
      {taken && (
        <li>
          <span className={classes.swatch} data-part="taken" aria-hidden />
          in use now
        </li>
      )}
      {devices.map(({ device, free, total }) => (
        <li key={device}>
          <span className={classes.mark} data-beyond={(free !== null && free > end) || undefined} aria-hidden />
          {sentence(deviceLabel(device))}:{" "}
          {free === null ? "free memory unknown" : `${formatBytes(free)} free of ${formatBytes(total)}`}
        </li>
      ))}
      {disks.map((words) => (
        <li key={words}>{words}</li>
      ))}
      {all > devices.length && <li>Of {all - 1} GPUs, the one with the most free memory is shown.</li>}
    </ul>
  );
}

/** "1.50 GB" as "1.5 GB": a tick is round, so the zeros say nothing. */
function withoutZeros(figure: string): string {
  return figure.replace(/(\.\d*?)0+(?= )/, "$1").replace(/\.(?= )/, "");
}

/** The scale that all rows share; an arrow stands for free memory that lies beyond its end. */
function Axis({ end, devices }: { end: number; devices: DeviceFit[] }) {
  const beyond = devices.some(({ free }) => free !== null && free > end);
  return (
    <div className={classes.axis}>
      {axisTicks(end, 3).map((tick) => (
        <span key={tick} style={{ left: `${(100 * tick) / end}%` }}>
          {tick === 0 ? "0" : withoutZeros(formatBytes(tick))}
        </span>
      ))}
      {beyond && <span className={classes.beyond}>▸</span>}
    </div>
  );
}
