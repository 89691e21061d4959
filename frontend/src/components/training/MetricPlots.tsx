import "uplot/dist/uPlot.min.css";
import { useMemo, useState } from "react";
import { formatCount } from "../../lib/bytes";
import { type Metric, metricName, metricsOf, formatMetric } from "../../lib/training";
import type { CurvePoint } from "../../types/training";
import { Plot } from "./Plot";
import classes from "./MetricPlots.module.css";

/** The run's curves over the tokens; one cursor in all of them. */
export default function MetricPlots({ points }: { points: CurvePoint[] }) {
  const tokens = useMemo(() => points.map((point) => point.tokens), [points]);
  const last = points.at(-1);
  if (last === undefined) return null;
  return (
    <div className={classes.plots}>
      {metricsOf(last).map((metric) => (
        <Curve key={metric.field} metric={metric} tokens={tokens} points={points} />
      ))}
    </div>
  );
}

interface CurveProps {
  metric: Metric;
  tokens: number[];
  points: CurvePoint[];
}

function Curve({ metric, tokens, points }: CurveProps) {
  const { field } = metric;
  const label = metricName(metric);
  const values = useMemo(() => points.map((point) => point[field] ?? null), [points, field]);
  const [pointed, setPointed] = useState<number | null>(null);
  const known = values.filter((value) => value !== null);
  const last = known.at(-1);
  const words = `${label}: from ${formatMetric(known[0])} to ${formatMetric(last)} after ${formatCount(tokens.at(-1))} tokens`;
  return (
    <figure className={classes.plot}>
      <figcaption>
        <span>{label}</span>
        <span className="num">
          {pointed === null || pointed >= values.length
            ? formatMetric(last)
            : `${formatMetric(values[pointed])} at ${formatCount(tokens[pointed])}`}
        </span>
      </figcaption>
      <div role="img" aria-label={words}>
        <Plot xs={tokens} ys={values} onPoint={setPointed} />
      </div>
    </figure>
  );
}
