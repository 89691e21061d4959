import { useSystemStore } from "../stores/systemStore";
import type { SystemInfo } from "../types/model";

type MissingExtra = SystemInfo["missing"][number];

/** What to install where nothing can load a model: torch is neither here nor with a worker elsewhere. */
export function useMissingTorch(): MissingExtra | undefined {
  return useSystemStore(({ system }) =>
    system === null || system.extras.torch ? undefined : system.missing.find(({ extra }) => extra === "torch"),
  );
}

/** Why what loads a model cannot be done, with the command that mends it; undefined where it can. */
export function useTorchReason(): string | undefined {
  const missing = useMissingTorch();
  return missing === undefined ? undefined : `modelyard[torch] is not installed. Run: ${missing.install}`;
}

/** Whether the server can make its samples; what it made before it lists all the same. */
export function useHasSamples(): boolean {
  return useSystemStore(({ system }) => system?.missing.every(({ extra }) => extra !== "torch") !== false);
}
