import { formatActivation } from "../../../lib/sae";
import classes from "./features.module.css";

interface Props {
  tokens: readonly { text: string; activation: number }[];
  /** The activation that is marked most strongly. */
  largest: number;
  /** Which token is the most active one. */
  position: number;
}

/** A text in one paragraph, its tokens marked by how active a feature is on them; the most active one is underlined. */
export function Highlighted({ tokens, largest, position }: Props) {
  return (
    <p className={classes.passage}>
      {tokens.map(({ text, activation }, place) =>
        activation === 0 ? (
          <span key={place}>{inline(text)}</span>
        ) : (
          <mark
            key={place}
            data-most={place === position || undefined}
            title={formatActivation(activation)}
            style={
              { "--share": `${Math.round(45 * Math.min(1, Math.abs(activation / largest)))}%` } as React.CSSProperties
            }
          >
            {inline(text)}
          </mark>
        ),
      )}
    </p>
  );
}

function inline(text: string): string {
  return text.replaceAll("\n", "↵");
}
