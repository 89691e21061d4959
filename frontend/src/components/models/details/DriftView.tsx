import { Text } from "@mantine/core";
import type { Drift } from "../../../types/model";
import { Fact, Facts } from "../../common/Facts";
import { Subheading } from "../../common/Subheading";
import classes from "./DriftView.module.css";

const WIDTH = 240;
const HEIGHT = 40;
const PAD = 3;

/** How far a quantized copy is from its source, as measured when it was made. */
export function DriftView({ drift }: { drift: Drift }) {
  return (
    <section>
      <Subheading>Drift from the original</Subheading>
      <Text size="sm" c="dimmed" className="num" mb={4}>
        {drift.reason ??
          `Measured when the copy was made, on ${drift.prompts} prompts (${drift.tokens} tokens)${
            drift.compared_dtype === null ? "" : `, against the original in ${drift.compared_dtype}`
          }.`}
      </Text>
      {drift.reason === null && <DriftFacts drift={drift} />}
    </section>
  );
}

/** Its answers, where it has a language head, and the residual stream layer by layer. */
export function DriftFacts({ drift }: { drift: Drift }) {
  const { kl_mean, kl_max, top1_agreement, perplexity, source_perplexity, residual_cosine, output_cosine } = drift;
  return (
    <Facts>
      {kl_mean === null ? (
        <Fact name="Tokens">not compared: the model has no language head</Fact>
      ) : (
        <>
          <Fact name="KL divergence">
            {nats(kl_mean)} nats on average, {nats(kl_max)} at most
          </Fact>
          <Fact name="Top-1 agreement">
            {top1_agreement === null ? null : `${(100 * top1_agreement).toFixed(1)} % of tokens`}
          </Fact>
        </>
      )}
      {perplexity != null && source_perplexity != null && (
        <Fact name="Perplexity">
          {perplexity.toPrecision(4)}; the original&apos;s {source_perplexity.toPrecision(4)}
        </Fact>
      )}
      {residual_cosine.length > 1 && (
        <Fact name="Cosine of the residual stream">
          <Sparkline values={residual_cosine} />
        </Fact>
      )}
      {output_cosine != null && <Fact name="Cosine after the final norm">{output_cosine.toFixed(4)}</Fact>}
    </Facts>
  );
}

function nats(value: number | null): string {
  if (value === null) return "unknown";
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(4);
}

/** From what enters the first layer to what leaves the last; the scale begins at the lowest value, and says so. */
function Sparkline({ values }: { values: number[] }) {
  const lowest = Math.min(...values);
  const where = values.indexOf(lowest);
  const span = Math.max(1 - lowest, 1e-6);
  const x = (index: number) => PAD + (index * (WIDTH - 2 * PAD)) / (values.length - 1);
  const y = (value: number) => PAD + ((1 - value) / span) * (HEIGHT - 2 * PAD);
  const place = where === 0 ? "entering layer 0" : `after layer ${where - 1}`;
  const last = values.at(-1) ?? lowest;
  return (
    <span className={classes.spark}>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`Cosine per layer: ${values.map((value) => value.toFixed(3)).join(", ")}`}
      >
        <line x1={PAD} x2={WIDTH - PAD} y1={y(1)} y2={y(1)} className={classes.one} />
        <polyline points={values.map((value, index) => `${x(index)},${y(value)}`).join(" ")} className={classes.line} />
        {values.map((value, index) => (
          <circle key={index} cx={x(index)} cy={y(value)} r={values.length > 40 ? 1.2 : 2.2} className={classes.dot}>
            <title>{`${index === 0 ? "entering layer 0" : `after layer ${index - 1}`}: ${value.toFixed(4)}`}</title>
          </circle>
        ))}
      </svg>
      <span className={classes.quiet}>
        lowest {lowest.toFixed(4)} {place}
        {where !== values.length - 1 && `; ${last.toFixed(4)} after the last layer`}; the dashed line is 1
      </span>
    </span>
  );
}
