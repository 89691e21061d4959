import { useDebouncedValue } from "@mantine/hooks";
import { useEffect, useMemo } from "react";
import { ApiError } from "../api/client";
import { planTraining } from "../api/trainings";
import { isRunning } from "../lib/training";
import { type ProblemView, toProblem } from "../lib/problems";
import { useTrainingsStore } from "../stores/trainingsStore";
import type { Training, TrainingPlan, TrainingRequest } from "../types/training";
import { type Resource, useResource } from "./useResource";

/** All runs, those under way first, then the newest; read once, then kept up by the feed. */
export function useTrainings(): Training[] {
  const byId = useTrainingsStore((state) => state.byId);
  const idle = useTrainingsStore((state) => state.load.state === "idle");
  useEffect(() => {
    if (idle) void useTrainingsStore.getState().fetchTrainings();
  }, [idle]);
  return useMemo(
    () =>
      Object.values(byId).sort(
        (a, b) =>
          Number(isRunning(b.status)) - Number(isRunning(a.status)) ||
          b.created_at.localeCompare(a.created_at) ||
          a.id.localeCompare(b.id),
      ),
    [byId],
  );
}

/** What is wrong with fields, by the server's names for them. */
export type FieldErrors = Record<string, string>;

export function fieldErrors(error: unknown): FieldErrors {
  const listed = error instanceof ApiError ? error.problem.errors : null;
  if (!Array.isArray(listed)) return {};
  return Object.fromEntries((listed as { field: string; message: string }[]).map((one) => [one.field, one.message]));
}

export type PlanAnswer = { plan: TrainingPlan } | { problem: ProblemView; fields: FieldErrors };

const ASK_AFTER_MS = 350;

/** The plan of what is asked for, once it was left alone for a moment; the last one stays until the next is there. */
export function useTrainingPlan(request: TrainingRequest | null): Resource<PlanAnswer> {
  const chosen = request === null ? null : JSON.stringify(request);
  const [settled] = useDebouncedValue(chosen, ASK_AFTER_MS);
  // What was left empty meanwhile asks for nothing.
  const asked = chosen === null ? null : settled;
  const answer = useResource(
    asked,
    async (signal): Promise<PlanAnswer> => {
      try {
        return { plan: await planTraining(JSON.parse(asked ?? "{}") as TrainingRequest, signal) };
      } catch (error) {
        if (!(error instanceof ApiError) || error.status === 0) throw error;
        return { problem: toProblem(error), fields: fieldErrors(error) };
      }
    },
    request?.model_id ?? null,
  );
  return { ...answer, loading: answer.loading || asked !== chosen };
}
