import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { useFeatureList } from "../../../hooks/useFeatures";
import { formatActivation, formatShare } from "../../../lib/sae";
import { visibleToken } from "../../../lib/tokens";
import type { FeatureSort } from "../../../types/sae";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./features.module.css";

const ROW_PX = 36;

interface Props {
  id: string;
  /** When the pages were built; newer ones are other pages. */
  built: string;
  selected: number | null;
  onSelect: (index: number) => void;
}

/** Every feature, of which only those in sight are in the page; arrows move between them. */
export function FeatureList({ id, built, selected, onSelect }: Props) {
  const [sort, setSort] = useState<FeatureSort>("-density");
  const { total, at, problem, need, reload } = useFeatureList(id, built, sort);
  const frame = useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: total ?? 0,
    getScrollElement: () => frame.current,
    estimateSize: () => ROW_PX,
    overscan: 8,
  });
  const rows = virtualizer.getVirtualItems();
  const first = rows[0]?.index;
  const last = rows.at(-1)?.index;
  useEffect(() => {
    if (first !== undefined && last !== undefined) need(first, last);
  }, [first, last, need]);

  function move(event: React.KeyboardEvent<HTMLElement>): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const place = event.target instanceof HTMLElement ? event.target.dataset.place : undefined;
    if (step === undefined || place === undefined) return;
    event.preventDefault();
    const next = event.currentTarget.querySelector<HTMLElement>(`[data-place="${Number(place) + step}"]`);
    next?.scrollIntoView({ block: "nearest" });
    next?.focus({ preventScroll: true });
  }

  if (problem !== null)
    return (
      <ProblemAlert title="Could not load the features" problem={problem}>
        <TryAgain onClick={reload} />
      </ProblemAlert>
    );
  if (total === null) return <Placeholder h={400} label="Loading the features" />;
  return (
    <div role="table" aria-label="Features" aria-rowcount={total + 1} className={classes.table}>
      <div role="rowgroup">
        <div role="row" aria-rowindex={1} className={`${classes.row} ${classes.header}`}>
          <Header label="Feature" by="index" sort={sort} onSort={setSort} />
          <Header label="Density" by="-density" sort={sort} onSort={setSort} />
          <Header label="Max" by="-max" sort={sort} onSort={setSort} />
          <span role="columnheader">Token</span>
        </div>
      </div>
      <div ref={frame} role="rowgroup" className={classes.scroll} onKeyDown={move}>
        <div role="presentation" style={{ height: virtualizer.getTotalSize() }}>
          {rows.map(({ index: place, start }) => {
            const item = at(place);
            return (
              <div
                key={place}
                role="row"
                aria-rowindex={place + 2}
                data-selected={(item !== undefined && item.index === selected) || undefined}
                className={classes.row}
                style={{ transform: `translateY(${start}px)` }}
              >
                <span role="cell">
                  {item === undefined ? (
                    "…"
                  ) : (
                    <button
                      type="button"
                      data-place={place}
                      aria-current={item.index === selected || undefined}
                      className={classes.name}
                      onClick={() => onSelect(item.index)}
                    >
                      {item.index}
                    </button>
                  )}
                </span>
                <span role="cell" className="num">
                  {item === undefined ? "" : formatShare(item.density)}
                </span>
                <span role="cell" className="num">
                  {item === undefined ? "" : formatActivation(item.max)}
                </span>
                <span role="cell" className="truncate mono">
                  {item === undefined ? "" : item.top_token === null ? "never active" : visibleToken(item.top_token)}
                </span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

interface HeaderProps {
  label: string;
  /** The order that comes first. */
  by: FeatureSort;
  sort: FeatureSort;
  onSort: (sort: FeatureSort) => void;
}

/** Sorts by its column, and the other way round the next time. */
function Header({ label, by, sort, onSort }: HeaderProps) {
  const reverse = { "-density": "density", "-max": "max", density: "-density", max: "-max", index: "index" } as const;
  const active = sort === by || sort === reverse[by];
  const descending = sort.startsWith("-");
  const Arrow = descending ? ArrowDown : ArrowUp;
  return (
    <span role="columnheader" aria-sort={active ? (descending ? "descending" : "ascending") : "none"}>
      <button type="button" className={classes.sort} onClick={() => onSort(active ? reverse[sort] : by)}>
        {label}
        {active && <Arrow size={12} aria-hidden />}
      </button>
    </span>
  );
}
