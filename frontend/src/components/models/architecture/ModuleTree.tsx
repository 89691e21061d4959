import { Text, VisuallyHidden } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { Check, ChevronDown, ChevronRight, Copy } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { formatCount } from "../../../lib/bytes";
import { KIND_LABEL } from "../../../lib/hooks";
import { ancestors, findRows, openRows, parentPath, type TreeRow } from "../../../lib/moduleTree";
import type { HookPoint, ModuleNode } from "../../../types/model";
import { SearchField } from "../../common/SearchField";
import classes from "./ModuleTree.module.css";

const MOST_FOUND = 200;

interface Props {
  tree: ModuleNode;
  layersPath: string | null;
  points: HookPoint[];
}

/** The modules of a model. Arrow keys walk and open, Enter copies a path; a search lists modules by their whole path. */
export function ModuleTree({ tree, layersPath, points }: Props) {
  const [query, setQuery] = useState("");
  const [open, setOpen] = useState<ReadonlySet<string>>(() => new Set(ancestors(layersPath ?? "")));
  const [current, setCurrent] = useState("");
  const list = useRef<HTMLDivElement>(null);
  const clipboard = useClipboard({ timeout: 1500 });
  const [copied, setCopied] = useState("");
  const kinds = useMemo(() => new Map(points.map((point) => [point.path, KIND_LABEL[point.kind]])), [points]);

  const searching = query.trim() !== "";
  const { rows, more } = useMemo(
    () => (searching ? findRows(tree, query, MOST_FOUND) : { rows: openRows(tree, open), more: 0 }),
    [tree, query, searching, open],
  );
  const focusable = rows.some((row) => row.path === current) ? current : rows[0]?.path;

  function toggle(path: string, wanted = !open.has(path)) {
    const next = new Set(open);
    if (wanted) next.add(path);
    else next.delete(path);
    setOpen(next);
  }

  function copy(path: string) {
    clipboard.copy(path);
    setCopied(path);
  }

  function focus(path: string | undefined) {
    if (path === undefined) return;
    setCurrent(path);
    list.current?.querySelector<HTMLElement>(`[data-path="${CSS.escape(path)}"]`)?.focus();
  }

  function onKeyDown(event: React.KeyboardEvent) {
    const index = rows.findIndex((row) => row.path === focusable);
    const row = rows[index];
    if (row === undefined) return;
    const opens = !searching && row.node.children.length > 0;
    const isOpen = open.has(row.path);
    const actions: Record<string, () => void> = {
      ArrowDown: () => focus(rows[index + 1]?.path),
      ArrowUp: () => focus(rows[index - 1]?.path),
      Home: () => focus(rows[0]?.path),
      End: () => focus(rows.at(-1)?.path),
      ArrowRight: () => {
        if (opens && isOpen) focus(rows[index + 1]?.path);
        else if (opens) toggle(row.path, true);
      },
      ArrowLeft: () => {
        if (opens && isOpen) toggle(row.path, false);
        else if (!searching) focus(parentPath(row.path) ?? undefined);
      },
      " ": () => opens && toggle(row.path),
      Enter: () => row.path !== "" && copy(row.path),
    };
    const action = actions[event.key];
    if (action === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }

  return (
    <div className={classes.frame}>
      <SearchField
        label="Search modules"
        placeholder="Module name or type, such as q_proj or Linear"
        size="xs"
        value={query}
        onChange={setQuery}
      />
      {rows.length === 0 ? (
        <Text size="sm" c="dimmed">
          No module has “{query.trim()}” in its path or type.
        </Text>
      ) : (
        <div ref={list} role="tree" aria-label="Modules" className={classes.tree} onKeyDown={onKeyDown}>
          {rows.map((row) => (
            <Row
              key={row.path}
              row={row}
              total={tree.num_parameters}
              kind={kinds.get(row.path)}
              open={searching || row.node.children.length === 0 ? undefined : open.has(row.path)}
              focusable={row.path === focusable}
              copied={clipboard.copied && copied === row.path}
              onToggle={() => toggle(row.path)}
              onCopy={() => copy(row.path)}
              onFocus={() => setCurrent(row.path)}
            />
          ))}
        </div>
      )}
      <Text size="xs" c="dimmed" role="status">
        {clipboard.copied
          ? `${copied} copied`
          : searching
            ? `${(rows.length + more).toLocaleString("en")} ${rows.length + more === 1 ? "module" : "modules"} found${more > 0 ? `, the first ${MOST_FOUND} shown` : ""}`
            : "Arrow keys move and expand; Enter copies the path."}
      </Text>
    </div>
  );
}

interface RowProps {
  row: TreeRow;
  total: number;
  kind: string | undefined;
  /** Undefined where there is nothing to open. */
  open: boolean | undefined;
  focusable: boolean;
  copied: boolean;
  onToggle: () => void;
  onCopy: () => void;
  onFocus: () => void;
}

function Row({ row, total, kind, open, focusable, copied, onToggle, onCopy, onFocus }: RowProps) {
  const { node } = row;
  const Chevron = open === true ? ChevronDown : ChevronRight;
  const CopyIcon = copied ? Check : Copy;
  const name = row.label === "" ? node.type : row.label;
  return (
    <div
      role="treeitem"
      className={classes.row}
      style={{ "--level": row.level - 1 } as React.CSSProperties}
      tabIndex={focusable ? 0 : -1}
      data-path={row.path}
      aria-level={row.level}
      aria-posinset={row.position}
      aria-setsize={row.siblings}
      aria-expanded={open}
      onFocus={onFocus}
      onClick={open === undefined ? undefined : onToggle}
    >
      <span className={classes.chevron} aria-hidden>
        {open !== undefined && <Chevron size={14} />}
      </span>
      <span className={classes.what}>
        <span className={`${classes.name} mono`}>{name}</span>{" "}
        {row.label !== "" && <span className={classes.type}>{node.type}</span>}{" "}
        {kind !== undefined && <span className={classes.kind}>{kind}</span>}
      </span>{" "}
      <span className={classes.share} aria-hidden>
        <span style={{ width: `${total === 0 ? 0 : (100 * node.num_parameters) / total}%` }} />
      </span>
      <span className={`${classes.count} num`} title={node.num_parameters.toLocaleString("en")}>
        {formatCount(node.num_parameters)} <VisuallyHidden>parameters</VisuallyHidden>
      </span>
      {row.path === "" ? (
        <span />
      ) : (
        // Enter on the row does the same, so the keyboard need not stop here.
        <span
          className={classes.copy}
          aria-hidden
          title={copied ? "Copied" : `Copy ${row.path}`}
          onClick={(event) => {
            event.stopPropagation();
            onCopy();
          }}
        >
          <CopyIcon size={13} />
        </span>
      )}
    </div>
  );
}
