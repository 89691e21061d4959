import { Button, NativeSelect, Skeleton, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import type { DeviceFit, MemoryPlan } from "../../hooks/useMemoryPlan";
import { formatBytes } from "../../lib/bytes";
import { deviceLabel } from "../../lib/fit";
import { axisEnd, axisTicks, BATCH_STOPS } from "../../lib/memory";
import type { Dtype, Quantization } from "../../types/model";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import classes from "./MemoryChart.module.css";
import { QuantOption } from "./QuantOption";
import { StopSlider } from "./StopSlider";

interface Props {
  title: string;
  plan: MemoryPlan;
  selected: Quantization;
  /** Shown in place of the problem as the server told it. */
  problem?: React.ReactNode;
  /** Left out where the precision is what it is. */
  onPick?: (quantization: Quantization) => void;
}

/** What a model needs in each precision, on one scale with what the devices have, for any context and batch. */
export function MemoryChart({ title, plan, selected, problem, onPick }: Props) {
  const { estimate, options } = plan;
  const failed = plan.problem !== null && estimate === null;
  const devices = shownDevices(options[0]?.fits ?? []);
  const needs = options.flatMap(({ option, need }) => (option.available ? (need.required ?? []) : []));
  const limits = devices.flatMap(({ free, total }) => [free ?? [], total ?? []].flat());
  const end = axisEnd(needs, limits);
  const shown = new Set(devices.map(({ device }) => device));
  return (
    <fieldset className={classes.chart} aria-busy={plan.loading}>
      <legend>{title}</legend>
      {!failed && <Controls plan={plan} />}
      <How plan={plan} />
      {plan.problem !== null &&
        estimate === null &&
        (problem ?? (
          <ProblemAlert title="The memory is not known" problem={plan.problem}>
            <TryAgain onClick={plan.reload} />
          </ProblemAlert>
        ))}
      {estimate === null && plan.loading && (
        <>
          <Skeleton h={104} />
          <Skeleton h={104} />
          <Skeleton h={104} />
        </>
      )}
      {estimate !== null && (
        <div
          className={classes.options}
          data-outdated={plan.outdated || undefined}
          data-choice={onPick !== undefined || undefined}
        >
          {end > 0 && <Limits devices={devices} end={end} all={options[0]?.fits.length ?? 0} />}
          {options.map((planned) => (
            <QuantOption
              key={planned.quantization}
              planned={{ ...planned, fits: planned.fits.filter(({ device }) => shown.has(device)) }}
              dtype={estimate.dtype}
              approximate={estimate.method === "approximate"}
              longest={plan.longest}
              end={end}
              selected={planned.quantization === selected}
              onSelect={onPick}
            />
          ))}
          {end > 0 && <Axis end={end} />}
        </div>
      )}
    </fieldset>
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

const DTYPE_WORDS: [Dtype, string][] = [
  ["auto", "as stored"],
  ["float32", "float32"],
  ["bfloat16", "bfloat16"],
  ["float16", "float16"],
];

function Controls({ plan }: { plan: MemoryPlan }) {
  return (
    <div className={classes.controls}>
      <StopSlider
        label="Context"
        value={plan.context}
        stops={plan.stops}
        words={(tokens) => `${tokens.toLocaleString("en")} tokens`}
        onChange={plan.setContext}
      />
      <StopSlider
        label="Batch"
        value={plan.batch}
        stops={BATCH_STOPS}
        words={(batch) => (batch === 1 ? "1 sequence" : `${batch} sequences`)}
        onChange={plan.setBatch}
      />
      <NativeSelect
        label="Load in"
        size="xs"
        classNames={{ label: classes.label }}
        value={plan.dtype}
        onChange={(event) => plan.setDtype(event.currentTarget.value as Dtype)}
        data={DTYPE_WORDS.map(([value, label]) => ({ value, label }))}
      />
    </div>
  );
}

const SLOW_MS = 1200;

/** How the figures were found, and what is going on while they are not there yet. */
function How({ plan }: { plan: MemoryPlan }) {
  const { estimate, loading, problem } = plan;
  const waiting = loading && (estimate === null || plan.outdated);
  const slow = useSlow(waiting);
  if (waiting)
    return (
      <Text size="sm" c="dimmed" role="status">
        {slow ? "Building the model without its weights…" : "Asking for the memory"}
      </Text>
    );
  if (estimate === null) return null;
  return (
    <div className={classes.how}>
      <Text size="sm" c="dimmed">
        {estimate.method === "exact"
          ? "Exact: the model was built without its weights and every tensor counted."
          : `Approximate (≈): ${estimate.method_reason ?? "the exact figure is not available"}.`}
        {problem !== null && ` The activations for this context were not told: ${problem.message}`}
      </Text>
      {(estimate.method === "approximate" || problem !== null) && (
        <Button size="compact-sm" variant="default" onClick={plan.reload}>
          Ask again
        </Button>
      )}
    </div>
  );
}

/** True once something has been under way for longer than passes unnoticed. */
function useSlow(waiting: boolean): boolean {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    if (!waiting) return;
    const timer = setTimeout(() => setSlow(true), SLOW_MS);
    return () => {
      clearTimeout(timer);
      setSlow(false);
    };
  }, [waiting]);
  return slow;
}

function Limits({ devices, end, all }: { devices: DeviceFit[]; end: number; all: number }) {
  return (
    <ul className={`${classes.limits} num`} aria-label="Free memory">
      {devices.some(({ free }) => free !== null && free > end) && <li>The bars end at {formatBytes(end)}</li>}
      {devices.map(({ device, free, total }) => (
        <li key={device}>
          <span className={classes.mark} data-beyond={(free ?? 0) > end || undefined} aria-hidden />
          <span>
            {sentenceCase(deviceLabel(device))}:{" "}
            {free === null ? "free memory unknown" : `${formatBytes(free)} free of ${formatBytes(total)}`}
            {free !== null && free > end && ", far beyond"}
          </span>
        </li>
      ))}
      {devices[0]?.free != null && devices[0].free < end && (
        <li>
          <span className={classes.taken} aria-hidden /> in use now
        </li>
      )}
      {all > devices.length && <li>Of {all - 1} GPUs the one with the most free memory is shown.</li>}
    </ul>
  );
}

/** "1.50 GB" as "1.5 GB": a tick is round, so the zeros say nothing. */
function withoutZeros(figure: string): string {
  return figure.replace(/(\.\d*?)0+(?= )/, "$1").replace(/\.(?= )/, "");
}

function sentenceCase(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function Axis({ end }: { end: number }) {
  return (
    <div className={`${classes.axis} num`} aria-hidden>
      {axisTicks(end).map((tick) => (
        <span key={tick} style={{ left: `${(100 * tick) / end}%` }}>
          {tick === 0 ? "0" : withoutZeros(formatBytes(tick))}
        </span>
      ))}
    </div>
  );
}

