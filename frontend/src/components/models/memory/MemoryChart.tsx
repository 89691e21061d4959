import { Button, NativeSelect, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import type { MemoryPlan, PlannedOption } from "../../../hooks/useMemoryPlan";
import { BATCH_STOPS, PART_LABEL, PARTS } from "../../../lib/memory";
import { DTYPE_LABEL, sentence } from "../../../lib/labels";
import type { Dtype, Quantization } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./MemoryChart.module.css";
import { type DiskUse, PrecisionTable } from "./PrecisionTable";
import { SteppedSlider } from "./SteppedSlider";

interface Props {
  title: string;
  plan: MemoryPlan;
  /** Null as long as nothing is chosen. */
  selected: Quantization | null;
  /** What stands in for the figures until they are there. */
  rough?: PlannedOption[] | undefined;
  /** What full precision is stored in, as far as it is known without the figures. */
  dtype?: string | null;
  /** A word or two beside a precision's name; left out, the selected one is that of the model that is shown. */
  marks?: Partial<Record<Quantization, string>>;
  /** What a precision means for the disk. */
  diskOf?: (planned: PlannedOption) => DiskUse | null;
  /** Said of the disks, below the table. */
  disks?: string[];
  /** Shown in place of the problem as the server told it. */
  problem?: React.ReactNode;
  /** Left out where the precision is what it is. */
  onPick?: ((quantization: Quantization) => void) | undefined;
}

/** What a model needs in each precision, on one scale with what the devices have, for any context and batch. */
export function MemoryChart(props: Props) {
  const { title, plan, selected, rough = [], dtype = null, marks, diskOf, disks, problem, onPick } = props;
  const { estimate } = plan;
  const options = estimate === null ? rough : plan.options;
  const failed = plan.problem !== null && estimate === null;
  const adjustable = !failed && (estimate === null || options.some(({ option }) => option.available));
  const thisModel = ({ quantization }: PlannedOption) => (quantization === selected ? "this model" : undefined);
  return (
    // Not a fieldset: Chromium lays out no size container inside one.
    <div className={classes.chart} role="group" aria-label={title} aria-busy={plan.loading}>
      <div className={classes.title} aria-hidden>
        {title}
      </div>
      {adjustable && <Controls plan={plan} />}
      {plan.problem !== null &&
        failed &&
        (problem ?? (
          <ProblemAlert
            title={rough.length === 0 ? "The memory is not available" : "The exact memory is not available"}
            problem={plan.problem}
            tone={rough.length === 0 ? "bad" : "warn"}
          >
            <TryAgain onClick={plan.reload} />
          </ProblemAlert>
        ))}
      {options.length > 0 ? (
        <div className={classes.options} data-outdated={plan.outdated || undefined}>
          <PrecisionTable
            options={options}
            estimate={estimate}
            dtype={estimate?.dtype ?? dtype}
            longest={plan.longest}
            selected={selected}
            pending={estimate === null ? plan.loading : plan.weightsOnly}
            markOf={marks === undefined ? thisModel : ({ quantization }) => marks[quantization]}
            diskOf={diskOf}
            disks={disks}
            onPick={onPick}
          />
        </div>
      ) : (
        plan.loading && <Placeholder h={216} label="Building the model without its weights" />
      )}
      {adjustable && <How plan={plan} rough={rough.length > 0} />}
    </div>
  );
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
function How({ plan, rough }: { plan: MemoryPlan; rough: boolean }) {
  const { estimate, loading, problem } = plan;
  const outdated = loading && (plan.outdated || (rough && estimate === null));
  const slow = useSlow(outdated);
  if (outdated)
    return (
      <Text size="sm" c="dimmed" role="status">
        {slow ? "Building the model without its weights…" : "Computing the memory"}
      </Text>
    );
  if (estimate === null) return null;
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
