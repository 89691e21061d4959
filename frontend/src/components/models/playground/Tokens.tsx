import { Tooltip } from "@mantine/core";
import {
  type CSSProperties,
  type FocusEvent,
  type KeyboardEvent,
  memo,
  type MouseEvent,
  useMemo,
  useState,
} from "react";
import {
  formatProbability,
  type LikelyToken,
  type Stretch,
  stretches,
  visibleToken,
  type WrittenToken,
} from "../../../lib/tokens";
import classes from "./Tokens.module.css";

interface Shown {
  index: number;
  element: HTMLElement;
}

const STEPS: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * An answer token by token, each with the likeliest ones at its place: pointed at, or with the arrow keys. It is one stop
 * of the keyboard.
 */
export const Tokens = memo(function Tokens({ tokens }: { tokens: WrittenToken[] }) {
  const parts = useMemo(() => stretches(tokens), [tokens]);
  const [shown, setShown] = useState<Shown | null>(null);
  const [stop, setStop] = useState(0);
  const part = shown === null ? undefined : parts[shown.index];

  function show(event: MouseEvent | FocusEvent): void {
    const element = event.target instanceof HTMLElement ? event.target.closest<HTMLElement>("[data-index]") : null;
    setShown(element === null ? null : { index: Number(element.dataset.index), element });
  }

  function move(event: KeyboardEvent<HTMLElement>): void {
    const to =
      event.key === "Home" ? 0 : event.key === "End" ? parts.length - 1 : stop + (STEPS[event.key] ?? Number.NaN);
    const next = event.currentTarget.querySelector<HTMLElement>(`[data-index="${to}"]`);
    if (next === null) return;
    event.preventDefault();
    setStop(to);
    next.focus();
  }

  return (
    <>
      <span
        role="listbox"
        aria-label="Tokens"
        aria-orientation="horizontal"
        onMouseOver={show}
        onMouseLeave={() => setShown(null)}
        onFocus={show}
        onBlur={() => setShown(null)}
        onKeyDown={move}
      >
        {parts.map((one, index) => (
          <Part key={index} part={one} index={index} stop={index === stop} shown={index === shown?.index} />
        ))}
      </span>
      {part !== undefined && (
        <Tooltip target={shown?.element ?? null} opened position="top" label={<Alternatives part={part} />} />
      )}
    </>
  );
});

interface PartProps {
  part: Stretch;
  index: number;
  stop: boolean;
  shown: boolean;
}

const Part = memo(function Part({ part, index, stop, shown }: PartProps) {
  const logprob = part.tokens.reduce((sum, token) => sum + (token.logprob ?? 0), 0);
  return (
    <span
      role="option"
      aria-selected={shown}
      aria-label={describe(part)}
      tabIndex={stop ? 0 : -1}
      data-index={index}
      className={classes.token}
      style={{ "--doubt": `${Math.round((1 - Math.exp(logprob)) * 100)}%` } as CSSProperties}
    >
      {part.text}
    </span>
  );
});

/** The token that was written and the likeliest ones; for ears, as one sentence. */
function describe({ tokens }: Stretch): string {
  return tokens
    .map((token) => {
      const others = token.top.filter(({ text }) => text !== token.text).map(named);
      return [named(token), ...(others.length > 0 ? [`others: ${others.join(", ")}`] : [])].join("; ");
    })
    .join("; then ");
}

function named({ text, logprob }: LikelyToken): string {
  return `${JSON.stringify(text)} ${formatProbability(logprob)}`;
}

function Alternatives({ part }: { part: Stretch }) {
  return (
    <>
      {part.tokens.map((token, index) => (
        <table key={index} className={classes.table}>
          <tbody>
            {rowsOf(token).map(({ text, logprob }, row) => (
              <tr key={row} className={text === token.text ? classes.written : undefined}>
                <td className="mono">{visibleToken(text)}</td>
                <td className={classes.bar}>
                  <span style={{ width: `${Math.exp(logprob ?? -Infinity) * 100}%` }} />
                </td>
                <td className="num">{formatProbability(logprob)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </>
  );
}

/** The likeliest tokens; the written one last where it is none of them. */
function rowsOf(token: WrittenToken): LikelyToken[] {
  return token.top.some(({ text }) => text === token.text) ? token.top : [...token.top, token];
}
