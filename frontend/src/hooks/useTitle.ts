import { useEffect } from "react";
import { useActiveModels } from "./useModels";

/** The page's name in the title bar, led by the number of jobs under way. */
export function useTitle(name: string): void {
  const active = useActiveModels().length;
  useEffect(() => {
    document.title = `${active > 0 ? `(${active}) ` : ""}${name} · Modelyard`;
  }, [active, name]);
}
