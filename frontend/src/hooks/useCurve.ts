import { useEffect, useState } from "react";
import { isAbort } from "../api/client";
import { getCurve } from "../api/trainings";
import { isRunning } from "../lib/training";
import { type ProblemView, toProblem } from "../lib/problems";
import { useTrainingsStore } from "../stores/trainingsStore";
import type { CurvePoint, Training } from "../types/training";

const EVERY_MS = 1500;

interface Curve {
  /** Null until the first answer. */
  points: CurvePoint[] | null;
  problem: ProblemView | null;
}

/**
 * A run's curve. While the feed tells that the run moves, what is new is asked for; a new state asks for everything,
 * because a resumed run goes on from its checkpoint.
 */
export function useCurve({ id, status }: Pick<Training, "id" | "status">): Curve {
  const [curve, setCurve] = useState<Curve>({ points: null, problem: null });

  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let points: CurvePoint[] = [];
    let told: number | undefined;

    async function extend(): Promise<void> {
      const done = useTrainingsStore.getState().byId[id]?.progress.tokens_done ?? 0;
      if (done !== told) {
        try {
          const { items } = await getCurve(id, points.at(-1)?.step ?? 0, controller.signal);
          points = [...points, ...items];
          told = done;
          setCurve({ points, problem: null });
        } catch (error) {
          if (isAbort(error) || controller.signal.aborted) return;
          setCurve((before) => ({ ...before, problem: toProblem(error) }));
        }
      }
      if (isRunning(status) && !controller.signal.aborted) timer = setTimeout(() => void extend(), EVERY_MS);
    }

    void extend();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [id, status]);

  return curve;
}
