import { defaultRangeExtractor, type Range, useWindowVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useLayoutEffect, useRef, useState } from "react";
import type { ModelGroup } from "../../../lib/groups";
import { moveByArrows, positionOf } from "./arrows";
import classes from "./ModelGrid.module.css";

const CARD_MIN_PX = 376;
const GAP_PX = 16;
const ROW_GUESS_PX = 200;

interface Props {
  groups: ModelGroup[];
  renderCard: (group: ModelGroup) => React.ReactNode;
}

/** Cards in rows, of which only those near the window are in the page; arrows move between cards. */
export function ModelGrid({ groups, renderCard }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const [columns, setColumns] = useState<number | null>(null);
  const [offset, setOffset] = useState(0);

  useLayoutEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const measure = () => {
      const box = element.getBoundingClientRect();
      setColumns(Math.max(1, Math.floor((box.width + GAP_PX) / (CARD_MIN_PX + GAP_PX))));
      setOffset(Math.round(box.top + window.scrollY));
    };
    measure();
    // Whatever stands above the list may grow (the yard, an alert): the page's own size tells.
    const observer = new ResizeObserver(measure);
    observer.observe(document.body);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  return (
    <div ref={frame}>
      {columns !== null && (
        <Rows key={columns} groups={groups} columns={columns} offset={offset} renderCard={renderCard} />
      )}
    </div>
  );
}

/** The rows for one number of columns; with another number nothing measured before is of use. */
function Rows({ groups, columns, offset, renderCard }: Props & { columns: number; offset: number }) {
  const list = useRef<HTMLDivElement>(null);
  const [focused, setFocused] = useState<number | null>(null);
  const rows = Math.ceil(groups.length / columns);
  const focusedRow = focused === null ? null : Math.floor(focused / columns);

  const virtualizer = useWindowVirtualizer({
    count: rows,
    estimateSize: () => ROW_GUESS_PX,
    gap: GAP_PX,
    overscan: 2,
    scrollMargin: offset,
    // The row that holds the focus stays, or scrolling would throw the focus back to the page, and with it
    // those beside it, where the arrows lead.
    rangeExtractor: useCallback(
      (range: Range) => {
        const indexes = defaultRangeExtractor(range);
        if (focusedRow === null) return indexes;
        const kept = [focusedRow - 1, focusedRow, focusedRow + 1].filter((row) => row >= 0 && row < range.count);
        return [...new Set([...indexes, ...kept])].sort((a, b) => a - b);
      },
      [focusedRow],
    ),
  });

  return (
    <div
      ref={list}
      className={classes.list}
      role="list"
      aria-label="Models"
      style={{ height: virtualizer.getTotalSize() }}
      onKeyDown={(event) =>
        moveByArrows(event, list.current, { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns })
      }
      onFocus={(event) => setFocused(positionOf(event.target))}
      onBlur={() => setFocused(null)}
    >
      {virtualizer.getVirtualItems().map((row) => (
        <div
          key={row.key}
          ref={virtualizer.measureElement}
          data-index={row.index}
          role="presentation"
          className={classes.row}
          style={{
            transform: `translateY(${row.start - offset}px)`,
            gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
          }}
        >
          {groups.slice(row.index * columns, (row.index + 1) * columns).map((group, column) => (
            <div
              key={group.key}
              role="listitem"
              aria-setsize={groups.length}
              aria-posinset={row.index * columns + column + 1}
              data-card-index={row.index * columns + column}
            >
              {renderCard(group)}
            </div>
          ))}
        </div>
      ))}
    </div>
  );
}
