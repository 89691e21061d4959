import { create } from "zustand";

interface DatasetsState {
  /** Uploaded files that are about to be deleted, by name. */
  leaving: ReadonlySet<string>;
  /** No longer offered; the returned function takes it back. */
  announceDeletion: (name: string) => () => void;
}

export const useDatasetsStore = create<DatasetsState>()((set) => {
  const change = (how: (names: Set<string>) => void) =>
    set(({ leaving }) => {
      const names = new Set(leaving);
      how(names);
      return { leaving: names };
    });
  return {
    leaving: new Set(),
    announceDeletion: (name) => {
      change((names) => names.add(name));
      return () => change((names) => names.delete(name));
    },
  };
});
