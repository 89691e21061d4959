import { Checkbox, VisuallyHidden } from "@mantine/core";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { useLayoutEffect, useRef, useState } from "react";
import { ASCENDING, type Column, COLUMN_LABEL, COLUMN_SORT, NARROW_COLUMNS } from "../../../lib/columns";
import type { ModelFilter, Sort } from "../../../lib/filter";
import type { ModelGroup } from "../../../lib/groups";
import type { OnAction } from "../card/actions";
import { moveByArrows, positionOf } from "./arrows";
import classes from "./ModelTable.module.css";
import { ModelTableRow } from "./ModelTableRow";

const ROW_PX = 40;

interface Props {
  groups: ModelGroup[];
  columns: Column[];
  /** On a phone, with the columns that it has room for. */
  small: boolean;
  filter: ModelFilter;
  search: string;
  /** The keys of the chosen ones, or null while none are being chosen. */
  selected: ReadonlySet<string> | null;
  onSort: (changes: Record<string, string | null>) => void;
  onSelect: (group: ModelGroup, selected: boolean) => void;
  onAction: OnAction;
}

/** Repositories as rows, of which only those near the window are in the page; arrows move between them. */
export function ModelTable(props: Props) {
  const { groups, small, filter, search, selected, onSort, onSelect, onAction } = props;
  const columns = small ? props.columns.filter((column) => NARROW_COLUMNS.includes(column)) : props.columns;
  const rows = useRef<HTMLDivElement>(null);
  const [offset, setOffset] = useState(0);
  const [focused, setFocused] = useState<number | null>(null);

  useLayoutEffect(() => {
    const element = rows.current;
    if (element === null) return;
    const measure = () => setOffset(Math.round(element.getBoundingClientRect().top + window.scrollY));
    measure();
    // Whatever stands above the list may grow.
    const observer = new ResizeObserver(measure);
    observer.observe(document.body);
    return () => observer.disconnect();
  }, []);

  const virtualizer = useWindowVirtualizer({
    count: groups.length,
    estimateSize: () => ROW_PX,
    overscan: 6,
    scrollMargin: offset,
  });
  const items = virtualizer.getVirtualItems();
  // The row that holds the focus stays, or scrolling would throw the focus back to the page.
  const shown = items.map(({ index }) => index);
  if (focused !== null && focused < groups.length && !shown.includes(focused)) shown.push(focused);

  const template = [
    small ? "minmax(100px, 2fr)" : "minmax(140px, 2fr)",
    ...columns.map((column) => WIDTH[column]),
    "28px",
  ].join(" ");
  return (
    <div className={classes.frame}>
      <div
        role="table"
        aria-label="Models"
        aria-rowcount={groups.length + 1}
        className={classes.table}
        style={{ "--columns": template } as React.CSSProperties}
      >
        <div role="rowgroup">
          <div role="row" aria-rowindex={1} className={`${classes.row} ${classes.header}`}>
            <Header label="Name" sort="name" filter={filter} onSort={onSort} />
            {columns.map((column) => (
              <Header
                key={column}
                label={COLUMN_LABEL[column]}
                sort={COLUMN_SORT[column]}
                filter={filter}
                onSort={onSort}
              />
            ))}
            <span role="columnheader">
              <VisuallyHidden>Actions</VisuallyHidden>
            </span>
          </div>
        </div>
        <div
          ref={rows}
          role="rowgroup"
          className={classes.rows}
          style={{ height: virtualizer.getTotalSize() }}
          onKeyDown={(event) => moveByArrows(event, rows.current, { ArrowDown: 1, ArrowUp: -1 })}
          onFocus={(event) => setFocused(positionOf(event.target))}
          onBlur={() => setFocused(null)}
        >
          {shown.map((index) => {
            const group = groups[index];
            return group === undefined ? null : (
              <div
                key={group.key}
                role="row"
                aria-rowindex={index + 2}
                data-card-index={index}
                data-selected={selected?.has(group.key) === true || undefined}
                className={`${classes.row} ${classes.model}`}
                style={{ transform: `translateY(${index * ROW_PX}px)` }}
              >
                <ModelTableRow
                  group={group}
                  columns={columns}
                  search={search}
                  onAction={onAction}
                  select={
                    selected !== null && (
                      <Checkbox
                        aria-label={`Select ${group.head.name}`}
                        checked={selected.has(group.key)}
                        onChange={(event) => onSelect(group, event.currentTarget.checked)}
                      />
                    )
                  }
                />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

const WIDTH: Record<Column, string> = {
  parameters: "84px",
  precisions: "minmax(120px, 1.3fr)",
  memory: "84px",
  disk: "76px",
  state: "92px",
  used: "minmax(100px, 1fr)",
  tags: "minmax(80px, 1fr)",
};

interface HeaderProps {
  label: string;
  /** Left out where the column has no order. */
  sort: Sort | undefined;
  filter: ModelFilter;
  onSort: Props["onSort"];
}

/** Sorts by its column, and the other way round the next time. */
function Header({ label, sort, filter, onSort }: HeaderProps) {
  if (sort === undefined) return <span role="columnheader">{label}</span>;
  const active = filter.sort === sort;
  const ascending = ASCENDING.has(sort) !== filter.reversed;
  const Arrow = ascending ? ArrowUp : ArrowDown;
  return (
    <span role="columnheader" aria-sort={active ? (ascending ? "ascending" : "descending") : "none"}>
      <button
        type="button"
        className={classes.sort}
        onClick={() => onSort({ sort, reversed: active && !filter.reversed ? "true" : null })}
      >
        {label}
        {active && <Arrow size={12} aria-hidden />}
      </button>
    </span>
  );
}
