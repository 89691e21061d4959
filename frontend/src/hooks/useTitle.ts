import { useEffect } from "react";
import { percentOf } from "../lib/progress";
import { useModelsStore } from "../stores/modelsStore";
import { useActiveModels } from "./useModels";

/** The page's name in the title bar, led by how far the running work is, or else by how much of it there is. */
export function useTitle(name: string): void {
  const active = useActiveModels().length;
  const percent = useModelsStore((state) => percentOf(state.byId, state.live));
  useEffect(() => {
    const work = percent !== null ? `${percent} % · ` : active > 0 ? `(${active}) ` : "";
    document.title = `${work}${name} · Modelyard`;
  }, [active, percent, name]);
}
