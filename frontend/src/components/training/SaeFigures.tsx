import { Text } from "@mantine/core";
import { figuresOf, judgedOn } from "../../lib/sae";
import type { SaeEvaluation } from "../../types/sae";
import { Histogram } from "./Histogram";
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

/** How many features are active on which share of the tokens. */
function Density({ histogram: { edges, counts } }: { histogram: SaeEvaluation["density_histogram"] }) {
  const active = counts.reduce((sum, count) => sum + count, 0);
  return (
    <Histogram
      caption="Features by the share of tokens they are active on"
      label={`${active.toLocaleString("en")} features are active at all`}
      counts={counts}
      titleOf={(index, count) =>
        `${count.toLocaleString("en")} features on up to ${shareLabel(edges[index + 1] ?? 0)} of the tokens`
      }
      from={shareLabel(edges[0] ?? 0)}
      to="100 %"
    />
  );
}

function shareLabel(exponent: number): string {
  return `${Number((100 * 10 ** exponent).toPrecision(2))} %`;
}
