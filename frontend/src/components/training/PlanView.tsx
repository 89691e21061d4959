import { Text } from "@mantine/core";
import { formatBytes, formatCount } from "../../lib/bytes";
import { deviceLabel } from "../../lib/fit";
import { fasterDtypeLabel } from "../../lib/memory";
import { sentence } from "../../lib/labels";
import { contextStartLabel, formatEpochs, fitLabel, partsOf } from "../../lib/training";
import { useSystemStore } from "../../stores/systemStore";
import type { TrainingPlan } from "../../types/training";
import { DeviceBar } from "../common/Bar";
import { Fact, Facts } from "../common/Facts";
import { VerdictLabel } from "../common/VerdictLabel";
import classes from "./PlanView.module.css";
import { Placeholder } from "../common/Placeholder";

interface Props {
  plan: TrainingPlan | null;
  /** The beginning that was asked for. */
  asked: string;
  /** Another plan is on its way. */
  loading: boolean;
  /** What to say where there is no plan. */
  empty: string;
}

/** What a run would take of the device, part by part, against what is free there. */
export function PlanView({ plan, asked, loading, empty }: Props) {
  if (plan === null)
    return loading ? (
      <Placeholder h={220} label="Computing the memory" />
    ) : (
      <Text size="sm" c="dimmed">
        {empty}
      </Text>
    );
  const parts = partsOf(plan);
  return (
    <div className={classes.plan} data-outdated={loading || undefined} aria-busy={loading}>
      <Verdict plan={plan} />
      <PlanBar plan={plan} />
      <dl className={`${classes.parts} num`}>
        {parts.map(({ name, label, bytes }) => (
          <div key={name}>
            <dt>
              <span className={classes.key} data-part={name} aria-hidden />
              {label}
            </dt>
            <dd>{formatBytes(bytes)}</dd>
          </div>
        ))}
        <div className={classes.total}>
          <dt>Total</dt>
          <dd>{formatBytes(plan.total_bytes)}</dd>
        </div>
      </dl>
      <Facts>
        {[
          [
            "Parameters",
            `${formatCount(plan.parameters)} (${plan.d_in.toLocaleString("en")} → ${plan.d_sae.toLocaleString("en")})`,
          ],
          ["Steps", plan.steps.toLocaleString("en")],
          ["Data set", formatEpochs(plan)],
          ["Each context begins with", contextStartLabel(plan, asked) ?? "unknown"],
          ...(plan.fast_dtype == null
            ? []
            : [["Model's precision", fasterDtypeLabel(plan.fast_dtype, plan.fast_dtype_bytes)]]),
          [
            "Disk",
            `${formatBytes(2 * plan.checkpoint_bytes + plan.output_bytes)} while it runs, ${formatBytes(plan.output_bytes)} afterwards`,
          ],
        ].map(([name = "", value]) => (
          <Fact key={name} name={name}>
            {value}
          </Fact>
        ))}
      </Facts>
    </div>
  );
}

function Verdict({ plan }: { plan: TrainingPlan }) {
  const { fits, refusal, free_bytes: free, usable_bytes: usable, device } = plan;
  // The missing engine is told at the top of the page, once.
  const reason = refusal?.code === "sae_engine_missing" ? null : refusal;
  if (reason !== null)
    return (
      <div role="status">
        <VerdictLabel verdict="does_not_fit">
          {reason.message} {reason.hint}
        </VerdictLabel>
      </div>
    );
  if (fits === null || free === null || usable === null)
    return (
      <div role="status">
        <VerdictLabel verdict="unknown">Unknown: training runs on another machine.</VerdictLabel>
      </div>
    );
  return (
    <div role="status">
      <VerdictLabel verdict={fits ? "fits" : "does_not_fit"}>{fitLabel(plan, deviceLabel(device))}</VerdictLabel>
    </div>
  );
}

/** The device's bar of the yard, with the run's parts behind what is in use. The words beside it say the same. */
function PlanBar({ plan }: { plan: TrainingPlan }) {
  const device = useSystemStore((state) => state.system?.devices.find(({ id }) => id === plan.device));
  if (device === undefined || plan.free_bytes === null) return null;
  const used = Math.max(0, device.total_bytes - plan.free_bytes);
  return (
    <DeviceBar
      size="large"
      used={used}
      total={device.total_bytes}
      end={Math.max(device.total_bytes, used + plan.total_bytes)}
      parts={partsOf(plan).map(({ name, label, bytes }) => ({
        key: name,
        bytes: bytes ?? 0,
        className: classes.part,
        title: `${label}: ${formatBytes(bytes)}`,
        data: { "data-part": name },
      }))}
      role="img"
      aria-label={`${sentence(deviceLabel(plan.device))}, ${formatBytes(device.total_bytes)}: ${formatBytes(used)} in use, the run ${formatBytes(plan.total_bytes)}`}
    />
  );
}
