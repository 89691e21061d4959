import { Button, NativeSelect, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import type { DeviceFit, MemoryPlan, PlannedOption } from "../../../hooks/useMemoryPlan";
import { formatBytes } from "../../../lib/bytes";
import { deviceLabel } from "../../../lib/fit";
import { axisEnd, axisTicks, BATCH_STOPS, PART_LABEL, PARTS } from "../../../lib/memory";
import { DTYPE_LABEL, sentence } from "../../../lib/labels";
import type { Dtype, Quantization } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./MemoryChart.module.css";
import { QuantOption } from "./QuantOption";
import { type RoughFacts, RoughMemory } from "./RoughMemory";
import { SteppedSlider } from "./SteppedSlider";

interface Props {
  title: string;
  plan: MemoryPlan;
  /** Null as long as nothing is chosen. */
  selected: Quantization | null;
  /** What stands in for the figures until they are there. */
  rough?: RoughFacts;
  /** A word or two beside a precision's name; left out, the selected one is that of the model that is shown. */
  marks?: Partial<Record<Quantization, string>>;
  /** What a precision means for the disk. */
  filesOf?: (planned: PlannedOption) => string | undefined;
  /** Shown in place of the problem as the server told it. */
  problem?: React.ReactNode;
  /** Left out where the precision is what it is. */
  onPick?: ((quantization: Quantization) => void) | undefined;
}

/** What a model needs in each precision, on one scale with what the devices have, for any context and batch. */
export function MemoryChart({ title, plan, selected, rough, marks, filesOf, problem, onPick }: Props) {
  const { estimate, options } = plan;
  const failed = plan.problem !== null && estimate === null;
  const devices = shownDevices(options[0]?.fits ?? []);
  const needs = options.flatMap(({ option, need }) => (option.available ? (need.required ?? []) : []));
  const limits = devices.flatMap(({ free, total }) => [free ?? [], total ?? []].flat());
  const end = axisEnd(needs, limits);
  const thisModel = ({ quantization }: PlannedOption) => (quantization === selected ? "this model" : undefined);
  const shown = new Set(devices.map(({ device }) => device));
  return (
    <fieldset className={classes.chart} aria-busy={plan.loading}>
      <legend>{title}</legend>
      {!failed && <Controls plan={plan} />}
      <How plan={plan} />
      {plan.problem !== null &&
        estimate === null &&
        (problem ?? (
          <ProblemAlert
            title={rough === undefined ? "The memory is not available" : "The exact memory is not available"}
            problem={plan.problem}
            tone={rough === undefined ? "bad" : "warn"}
          >
            <TryAgain onClick={plan.reload} />
          </ProblemAlert>
        ))}
      {estimate === null && rough !== undefined && <RoughMemory {...rough} />}
      {estimate === null && plan.loading && <Placeholder h={336} label="Building the model without its weights" />}
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
              faster={estimate.fast_dtype}
              approximate={estimate.method === "approximate"}
              longest={plan.longest}
              end={end}
              selected={planned.quantization === selected}
              weightsOnly={plan.weightsOnly}
              mark={marks === undefined ? thisModel(planned) : marks[planned.quantization]}
              files={filesOf?.(planned)}
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

function Controls({ plan }: { plan: MemoryPlan }) {
  return (
    <div className={classes.controls}>
      <SteppedSlider
        label="Context"
        value={plan.context}
        stops={plan.stops}
        words={(tokens) => `${tokens.toLocaleString("en")} tokens`}
        onChange={plan.setContext}
      />
      <SteppedSlider
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
        data={(Object.keys(DTYPE_LABEL) as Dtype[]).map((value) => ({ value, label: DTYPE_LABEL[value] }))}
      />
    </div>
  );
}

const SLOW_MS = 1200;

/** How the figures were found, and what is going on while they are not there yet. */
function How({ plan }: { plan: MemoryPlan }) {
  const { estimate, loading, problem } = plan;
  const outdated = loading && plan.outdated;
  const slow = useSlow(outdated);
  if (estimate === null) return null;
  if (outdated)
    return (
      <Text size="sm" c="dimmed" role="status">
        {slow ? "Building the model without its weights…" : "Computing the memory"}
      </Text>
    );
  const { method, method_reason: reason, may_improve: mayImprove } = estimate;
  return (
    <div className={classes.how}>
      <Text size="sm" c="dimmed" role={plan.weightsOnly ? "status" : undefined}>
        {[
          method === "exact" ? methodLabel(plan) : `Approximate (≈): ${reason ?? "the exact figure is not available"}.`,
          plan.weightsOnly ? "Computing the KV cache and the activations…" : notCounted(plan),
          plan.improving && "Retrying the rest.",
          problem !== null && `Could not compute this context: ${problem.message}`,
        ]
          .filter((words) => words !== null && words !== false)
          .join(" ")}
      </Text>
      {(mayImprove || problem !== null) && (
        <Button size="compact-sm" variant="default" onClick={plan.reload}>
          Retry
        </Button>
      )}
    </div>
  );
}

function methodLabel({ estimate, options }: MemoryPlan): string {
  const reason = estimate?.method_reason ?? null;
  const whole = reason === null && options.every(({ option, need }) => !option.available || !need.partial);
  const how = `${whole ? "Exact" : "The weights are exact"}: the model was built without its weights and every tensor counted.`;
  return reason === null ? how : `${how} ${sentence(reason)}.`;
}

/** The parts that are in no total, where the reason does not name them already. */
function notCounted({ estimate, options }: MemoryPlan): string | null {
  const said = estimate?.method_reason ?? "";
  const missing = PARTS.filter(
    (part) =>
      options.some(({ option, need }) => option.available && need.missing.includes(part)) &&
      !said.includes(PART_LABEL[part]),
  );
  return missing.length === 0
    ? null
    : `Not in the totals, because unknown: ${missing.map((part) => PART_LABEL[part]).join(", ")}.`;
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
      {devices.map(({ device, free, total }) => (
        <li key={device}>
          <span className={classes.mark} data-beyond={(free ?? 0) > end || undefined} aria-hidden />
          <span>
            {sentence(deviceLabel(device))}:{" "}
            {free === null ? "free memory unknown" : `${formatBytes(free)} free of ${formatBytes(total)}`}
            {free !== null && free > end && ", beyond this scale"}
          </span>
        </li>
      ))}
      {devices[0]?.free != null && devices[0].free < end && (
        <li>
          <span className={classes.taken} aria-hidden /> in use now
        </li>
      )}
      {all > devices.length && <li>Of {all - 1} GPUs, the one with the most free memory is shown.</li>}
    </ul>
  );
}

/** "1.50 GB" as "1.5 GB": a tick is round, so the zeros say nothing. */
function withoutZeros(figure: string): string {
  return figure.replace(/(\.\d*?)0+(?= )/, "$1").replace(/\.(?= )/, "");
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
