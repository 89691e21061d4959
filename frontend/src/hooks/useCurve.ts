import { getCurve } from "../api/trainings";
import { isRunning } from "../lib/training";
import { useTrainingsStore } from "../stores/trainingsStore";
import type { CurvePoint, Training } from "../types/training";
import { type Followed, useFollowed } from "./useFollowed";

const EVERY_MS = 1500;

/**
 * A run's curve. What is new is asked for when the feed has told that the run moved; a new state asks for everything,
 * because a resumed run goes on from its checkpoint.
 */
export function useCurve({ id, status }: Pick<Training, "id" | "status">): Followed<CurvePoint[]> {
  const { value, ...rest } = useFollowed<{ points: CurvePoint[]; done: number }>(
    `${id} ${status}`,
    isRunning(status),
    EVERY_MS,
    async (known, signal) => {
      const done = useTrainingsStore.getState().byId[id]?.progress.tokens_done ?? 0;
      if (known !== null && known.done === done) return known;
      const points = known?.points ?? [];
      const { items } = await getCurve(id, points.at(-1)?.step ?? 0, signal);
      return { points: [...points, ...items], done };
    },
  );
  return { value: value?.points ?? null, ...rest };
}
