import { Text } from "@mantine/core";
import { figuresOf, judgedOn } from "../../lib/sae";
import type { SaeEvaluation } from "../../types/sae";
import classes from "./SaeFigures.module.css";

/** How well an SAE reconstructs, in figures, and on which share of the tokens its features are active. */
export function SaeFigures({ evaluation }: { evaluation: SaeEvaluation }) {
  return (
    <>
      <dl className={`${classes.figures} num`}>
        {figuresOf(evaluation).map(({ name, value, note }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              {value}
              {note !== undefined && <span>{note}</span>}
            </dd>
          </div>
        ))}
      </dl>
      <Density histogram={evaluation.density_histogram} />
      <Text size="sm" c="dimmed" className="num">
        On {judgedOn(evaluation)}
      </Text>
    </>
  );
}

/** How many features are active on which share of the tokens; the bars are to scale with the largest. */
function Density({ histogram: { edges, counts } }: { histogram: SaeEvaluation["density_histogram"] }) {
  const largest = Math.max(...counts, 1);
  const active = counts.reduce((sum, count) => sum + count, 0);
  return (
    <figure className={classes.density}>
      <figcaption>Features by the share of tokens they are active on</figcaption>
      <div className={classes.bars} role="img" aria-label={`${active.toLocaleString("en")} features are active at all`}>
        {counts.map((count, index) => (
          <div
            key={edges[index]}
            style={{ height: `${(100 * count) / largest}%` }}
            title={`${count.toLocaleString("en")} features on up to ${shareLabel(edges[index + 1] ?? 0)} of the tokens`}
          />
        ))}
      </div>
      <div className={`${classes.scale} num`} aria-hidden>
        <span>{shareLabel(edges[0] ?? 0)}</span>
        <span>100 %</span>
      </div>
    </figure>
  );
}

function shareLabel(exponent: number): string {
  return `${Number((100 * 10 ** exponent).toPrecision(2))} %`;
}
