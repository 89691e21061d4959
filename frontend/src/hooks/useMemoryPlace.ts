import { useMemo } from "react";
import { bestMemoryPlace, type Place, placesOf } from "../lib/yard";
import { useSystemStore } from "../stores/systemStore";

/** The memory that models are drawn in; unknown until the server has described its machine. */
export function useMemoryPlace(): Place | undefined {
  const system = useSystemStore((state) => state.system);
  const loaded = useSystemStore((state) => state.loaded);
  return useMemo(() => (system === null ? undefined : bestMemoryPlace(placesOf(system, loaded))), [system, loaded]);
}
