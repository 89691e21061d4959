import { useDebouncedValue } from "@mantine/hooks";
import { useEffect, useMemo } from "react";
import { ApiError } from "../lib/apiError";
import { planTraining } from "../api/trainings";
import { isRunning } from "../lib/training";
import { type ProblemView, toProblem } from "../lib/problems";
import { type TrainingsState, useTrainingsStore } from "../stores/trainingsStore";
import type { Training, TrainingPlan, TrainingRequest } from "../types/training";
import { type Resource, useResource } from "./useResource";
import { useRetryWhenBack } from "./useRetryWhenBack";

const read = () => void useTrainingsStore.getState().fetchTrainings();

/** Reads the runs once, unless nobody wants them; the feed keeps them up. */
function useReadRuns(wanted = true): void {
  const { state, error } = useTrainingsStore((store) => store.load);
  const idle = state === "idle";
  useEffect(() => {
    if (wanted && idle) read();
  }, [wanted, idle]);
  useRetryWhenBack(wanted ? (error ?? null) : null, read);
}

/** All runs: what is trained now, what waits in its turn, then what has ended, newest first. */
export function useTrainings(): Training[] {
  const byId = useTrainingsStore((state) => state.byId);
  useReadRuns();
  return useMemo(() => Object.values(byId).sort(inTurn), [byId]);
}

function inTurn(a: Training, b: Training): number {
  // A run that waits was last changed when it was started or resumed, which is when it joined the queue.
  const waiting = a.status === "pending" && b.status === "pending";
  const byTime = waiting ? a.updated_at.localeCompare(b.updated_at) : b.created_at.localeCompare(a.created_at);
  return rank(a) - rank(b) || byTime || a.id.localeCompare(b.id);
}

function rank({ status }: Training): number {
  return status === "pending" ? 1 : isRunning(status) ? 0 : 2;
}

/** A run, and how the reading of the list went that it is in: it may be older than what the feed told. */
export function useTraining(id: string | null): { training: Training | undefined; load: TrainingsState["load"] } {
  useReadRuns(id !== null);
  const training = useTrainingsStore((state) => (id === null ? undefined : state.byId[id]));
  const load = useTrainingsStore((state) => state.load);
  return { training, load };
}

/** What is wrong with fields, by the server's names for them. */
export type FieldErrors = Record<string, string>;

export function fieldErrors(error: unknown): FieldErrors {
  const listed = error instanceof ApiError ? error.problem.errors : null;
  if (!Array.isArray(listed)) return {};
  return Object.fromEntries((listed as { field: string; message: string }[]).map((one) => [one.field, one.message]));
}

export type PlanAnswer = ({ plan: TrainingPlan } | { problem: ProblemView; fields: FieldErrors }) & { text: KnownText };

/** What the server found in a text file: the columns that hold text, and the one it reads; null where it found none. */
export interface KnownText {
  path: string;
  columns: string[] | null;
  column: string | null;
}

function columnsOf(error: ApiError): string[] | null {
  const listed = (error.problem.errors ?? []) as { columns?: string[] }[];
  return listed.find(({ columns }) => columns !== undefined)?.columns ?? null;
}

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
      const body = JSON.parse(asked ?? "{}") as TrainingRequest;
      const { path } = body.dataset;
      try {
        const plan = await planTraining(body, signal);
        return { plan, text: { path, columns: plan.dataset_columns, column: plan.dataset_column } };
      } catch (error) {
        if (!(error instanceof ApiError) || error.status === 0) throw error;
        const text = { path, columns: columnsOf(error), column: null };
        return { problem: toProblem(error), fields: fieldErrors(error), text };
      }
    },
    request?.model_id ?? null,
  );
  return { ...answer, loading: answer.loading || asked !== chosen };
}
