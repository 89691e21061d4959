/** A module tree as the rows that are visible: only what is open is walked, however large the model. */
import type { ModuleNode } from "../types/model";

export interface TreeRow {
  /** What `get_submodule` takes; empty for the model itself. */
  path: string;
  label: string;
  node: ModuleNode;
  /** 1 for the model itself. */
  level: number;
  position: number;
  siblings: number;
}

export function childPath(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

export function parentPath(path: string): string | null {
  if (path === "") return null;
  return path.slice(0, Math.max(0, path.lastIndexOf(".")));
}

export function openRows(root: ModuleNode, open: ReadonlySet<string>): TreeRow[] {
  const rows: TreeRow[] = [];
  const walk = (node: ModuleNode, path: string, level: number, position: number, siblings: number) => {
    rows.push({ path, label: node.name, node, level, position, siblings });
    if (!open.has(path)) return;
    node.children.forEach((child, index) =>
      walk(child, childPath(path, child.name), level + 1, index + 1, node.children.length),
    );
  };
  walk(root, "", 1, 1, 1);
  return rows;
}

/** Modules whose path or type holds every word, each by its whole path; `more` counts those beyond the limit. */
export function findRows(root: ModuleNode, query: string, limit: number): { rows: TreeRow[]; more: number } {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found: Omit<TreeRow, "position" | "siblings">[] = [];
  let more = 0;
  const walk = (node: ModuleNode, path: string) => {
    const text = `${path} ${node.type}`.toLowerCase();
    if (path !== "" && words.every((word) => text.includes(word))) {
      if (found.length < limit) found.push({ path, label: path, node, level: 1 });
      else more += 1;
    }
    for (const child of node.children) walk(child, childPath(path, child.name));
  };
  walk(root, "");
  return { rows: found.map((row, index) => ({ ...row, position: index + 1, siblings: found.length })), more };
}

/** Every module on the way to `path`, the model itself first. */
export function ancestors(path: string): string[] {
  const parts = path === "" ? [] : path.split(".");
  return ["", ...parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join("."))];
}
