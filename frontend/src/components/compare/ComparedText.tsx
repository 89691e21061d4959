import { useId, useMemo, useState } from "react";
import { LEVELS, type Piece, piecesOf, tokenFacts } from "../../lib/compare";
import type { ComparedSide } from "../../types/compare";
import { PrecisionBadge } from "../common/PrecisionBadge";
import classes from "./ComparedText.module.css";

interface Props {
  /** Left model or Right model. */
  label: string;
  side: ComparedSide;
}

/** One model's text, token by token: how far the other model is apart is a shade and an underline, and a number on demand. */
export function ComparedText({ label, side }: Props) {
  const id = useId();
  const pieces = useMemo(() => piecesOf(side.tokens), [side.tokens]);
  const [active, setActive] = useState<number | null>(null);
  const first = side.first_divergence;
  const ended = first !== null && first >= side.tokens.length;
  const move = (to: number) => setActive(Math.min(Math.max(to, 0), pieces.length - 1));
  const name = `${label}, ${side.model_id}`;
  const shown = active === null ? undefined : pieces[active];

  return (
    <section className={classes.side} aria-label={name}>
      <h3 className={classes.name}>
        <span className="mono">{side.model_id}</span> <PrecisionBadge quantization={side.quantization} />
      </h3>
      <div
        className={classes.text}
        role="listbox"
        aria-label={`Tokens of ${name}`}
        aria-activedescendant={active === null ? undefined : `${id}-${active}`}
        tabIndex={0}
        onFocus={() => setActive((now) => now ?? 0)}
        onMouseLeave={(event) => {
          if (document.activeElement !== event.currentTarget) setActive(null);
        }}
        onBlur={() => setActive(null)}
        onKeyDown={(event) => {
          const step = STEPS[event.key];
          if (step === undefined) return;
          event.preventDefault();
          move(step(active ?? 0, pieces.length));
        }}
      >
        {pieces.map((piece, index) => (
          <Token
            key={piece.place}
            id={`${id}-${index}`}
            piece={piece}
            active={index === active}
            first={first !== null && piece.place <= first && first < piece.place + piece.tokens.length}
            onPoint={() => setActive(index)}
          />
        ))}
      </div>
      {ended && <p className={classes.end}>▸ The text ends here; the other one continues.</p>}
      <p className={classes.facts}>
        {shown === undefined
          ? "Point at a token, or use the arrow keys in the text, for its numbers."
          : shown.tokens.map((token, index) => (
              <span key={index} className={classes.fact}>
                {tokenFacts(token)}
              </span>
            ))}
      </p>
    </section>
  );
}

const STEPS: Record<string, ((now: number, count: number) => number) | undefined> = {
  ArrowRight: (now) => now + 1,
  ArrowDown: (now) => now + 1,
  ArrowLeft: (now) => now - 1,
  ArrowUp: (now) => now - 1,
  Home: () => 0,
  End: (_, count) => count - 1,
};

interface TokenProps {
  id: string;
  piece: Piece;
  active: boolean;
  /** Here the two texts part. */
  first: boolean;
  onPoint: () => void;
}

function Token({ id, piece, active, first, onPoint }: TokenProps) {
  return (
    <span
      id={id}
      role="option"
      aria-selected={active}
      aria-label={`${first ? "First difference. " : ""}${piece.tokens.map(tokenFacts).join("; ")}`}
      className={classes.token}
      data-level={piece.level}
      data-first={first || undefined}
      onMouseEnter={onPoint}
      onClick={onPoint}
    >
      {piece.text.replaceAll("\n", "↵\n")}
    </span>
  );
}

/** What the shades and underlines mean. */
export function Legend() {
  return (
    <p className={classes.legend}>
      <span>Difference in nats:</span>
      {LEVELS.map(({ level, label }) => (
        <span key={level} className={classes.token} data-level={level}>
          {label}
        </span>
      ))}
      <span className={classes.token} data-first>
        first difference
      </span>
    </p>
  );
}
