import { Text } from "@mantine/core";
import { useFeature } from "../../../hooks/useFeatures";
import { formatActivation, formatShare } from "../../../lib/sae";
import { visibleToken } from "../../../lib/tokens";
import type { Sae, SaeFeature, TokenEffect } from "../../../types/sae";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { Subheading } from "../../common/Subheading";
import { TryAgain } from "../../common/TryAgain";
import { Histogram } from "../Histogram";
import { ClampButton } from "./ClampButton";
import classes from "./features.module.css";
import { Highlighted } from "./Highlighted";

interface Props {
  sae: Sae;
  built: string;
  /** Null where none is chosen. */
  index: number | null;
}

/** One feature: how active it is, where most, and which tokens it promotes. */
export function FeatureDetail({ sae, built, index }: Props) {
  const { data: feature, problem, reload } = useFeature(sae.id, built, index);
  if (index === null)
    return (
      <Text size="sm" c="dimmed">
        Choose a feature to see where it is active.
      </Text>
    );
  if (problem !== null)
    return (
      <ProblemAlert title="Could not load the feature" problem={problem}>
        <TryAgain onClick={reload} />
      </ProblemAlert>
    );
  if (feature === null) return <Placeholder h={400} label="Loading the feature" />;
  return (
    <article aria-label={`Feature ${feature.index}`} aria-busy={feature.index !== index} className={classes.detail}>
      <div className={classes.head}>
        <Subheading>Feature {feature.index}</Subheading>
        <ClampButton sae={sae} feature={feature.index} value={feature.max} />
      </div>
      <Text size="sm" className="num">
        Active on {formatShare(feature.density)} of the tokens, at most {formatActivation(feature.max)}
      </Text>
      {feature.density > 0 && <Activations feature={feature} />}
      <Effects feature={feature} />
      <Passages feature={feature} />
    </article>
  );
}

function Activations({ feature: { histogram, max } }: { feature: SaeFeature }) {
  const { edges, counts } = histogram;
  return (
    <Histogram
      caption="Tokens by activation"
      label={`Activations up to ${formatActivation(max)}`}
      counts={counts}
      titleOf={(index, count) =>
        `${count.toLocaleString("en")} tokens up to ${formatActivation(edges[index + 1] ?? max)}`
      }
      from="0"
      to={formatActivation(edges.at(-1) ?? max)}
    />
  );
}

function Effects({ feature: { promoted, suppressed } }: { feature: SaeFeature }) {
  if (promoted === null || suppressed === null)
    return (
      <Text size="sm" c="dimmed">
        Promoted tokens are not known: it is not as wide as the output embedding.
      </Text>
    );
  return (
    <div className={classes.effects}>
      <Tokens title="Promotes" tokens={promoted} />
      <Tokens title="Suppresses" tokens={suppressed} />
    </div>
  );
}

function Tokens({ title, tokens }: { title: string; tokens: TokenEffect[] }) {
  return (
    <div>
      <Text size="xs" c="dimmed">
        {title}
      </Text>
      <ol className={classes.tokens} aria-label={title}>
        {tokens.map(({ id, text, effect }) => (
          <li key={id}>
            <span className="mono truncate">{visibleToken(text)}</span>
            <span className="num">{effect.toFixed(2)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}

function Passages({ feature: { passages, max } }: { feature: SaeFeature }) {
  if (passages.length === 0)
    return (
      <Text size="sm" c="dimmed">
        It is never active in this text.
      </Text>
    );
  return (
    <ol className={classes.passages} aria-label="Passages">
      {passages.map(({ tokens, position, activation }, rank) => (
        <li key={rank}>
          <span className="num">{formatActivation(activation)}</span>
          <Highlighted tokens={tokens} largest={max} position={position} />
        </li>
      ))}
    </ol>
  );
}
