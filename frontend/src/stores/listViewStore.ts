import { create } from "zustand";
import { type Column, COLUMNS, DEFAULT_COLUMNS } from "../lib/columns";

export type Layout = "cards" | "table";

interface Saved {
  /** Null until one is chosen: how many models there are decides. */
  layout: Layout | null;
  columns: Column[];
}

interface ListViewState extends Saved {
  setLayout: (layout: Layout) => void;
  setColumns: (columns: Column[]) => void;
}

const KEY = "modelyard.list";

/** How the models are listed, in this browser. */
export const useListViewStore = create<ListViewState>()((set, get) => {
  function change(part: Partial<Saved>): void {
    set(part);
    const { layout, columns } = get();
    try {
      localStorage.setItem(KEY, JSON.stringify({ layout, columns }));
    } catch (error) {
      // The browser has no room: it lasts as long as the page.
      if (!(error instanceof DOMException)) throw error;
    }
  }
  return {
    ...saved(),
    setLayout: (layout) => change({ layout }),
    setColumns: (columns) => change({ columns }),
  };
});

function saved(): Saved {
  const { layout = null, columns = DEFAULT_COLUMNS } = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Saved>;
  // Another version of the page may have had others.
  return { layout, columns: COLUMNS.filter((column) => columns.includes(column)) };
}
