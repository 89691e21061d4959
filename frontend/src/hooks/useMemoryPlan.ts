import { useDebouncedValue } from "@mantine/hooks";
import { useCallback, useEffect, useEffectEvent, useMemo, useState } from "react";
import { isAbort } from "../lib/apiError";
import { estimateLocalMemory, estimateMemory } from "../api/models";
import { verdictFor } from "../lib/fit";
import {
  type ActivationSample,
  contextStops,
  kindest,
  longestFit,
  type Need,
  needOf,
  type Workload,
} from "../lib/memory";
import { type ProblemView, toProblem } from "../lib/problems";
import { useSystemStore } from "../stores/systemStore";
import type { Dtype, EstimateParts, MemoryEstimate, MemoryOption, Quantization, Verdict } from "../types/model";

export interface DeviceFit {
  device: string;
  free: number | null;
  total: number | null;
  verdict: Verdict;
  /** The longest context that fits there; 0 where none does, null where it is not known. */
  reach: number | null;
}

export interface PlannedOption {
  option: MemoryOption;
  quantization: Quantization;
  need: Need;
  /** Accelerators first. */
  fits: DeviceFit[];
  /** The kindest of its devices' verdicts. */
  verdict: Verdict;
}

export interface MemoryPlan extends Workload {
  dtype: Dtype;
  /** The longest context the model was made for. */
  longest: number;
  stops: number[];
  setContext: (context: number) => void;
  setBatch: (batch: number) => void;
  setDtype: (dtype: Dtype) => void;
  /** The last answer; while another dtype is asked for, that of the one before. */
  estimate: MemoryEstimate | null;
  options: PlannedOption[];
  /** An answer for what is chosen is on its way. */
  loading: boolean;
  /** What is shown are the weights alone; the whole is on its way. */
  weightsOnly: boolean;
  /** Some of it was not found in time and is asked for again by itself. */
  improving: boolean;
  /** What is shown belongs to another dtype than the one chosen. */
  outdated: boolean;
  problem: ProblemView | null;
  reload: () => void;
}

/** The least that is remembered of a model: which one, and how long a context it was made for. */
export interface PlanTarget {
  /** The row of a model that is here, which needs no Hub. */
  row?: string | null;
  model_id: string;
  revision: string;
  longest: number | null;
}

interface Asked extends Workload {
  dtype: Dtype;
}

interface Answer extends Asked {
  estimate: MemoryEstimate;
  /** False where the weights alone were asked for. */
  whole: boolean;
}

const ASK_AFTER_MS = 300;
/** An answer that is remembered is there sooner than this; any other is asked for its weights, which come first. */
const AT_ONCE_MS = 150;
/** After how long an answer that the server had no time for is asked for again; the last one counts for good. */
const AGAIN_MS = [2_000, 4_000, 8_000, 15_000, 30_000, 60_000];
const LONGEST_IF_UNKNOWN = 131_072;
const FIRST_CONTEXT = 2048;

/**
 * The memory of one model, asked once per dtype and computed here for any context and batch. Where the whole takes its
 * time, the weights are shown before it. Activations alone are asked again, once a workload was left alone for a moment,
 * and are in proportion until then. Null asks nothing.
 */
export function useMemoryPlan(target: PlanTarget | null): MemoryPlan {
  const longest = target?.longest ?? LONGEST_IF_UNKNOWN;
  const [context, setContext] = useState(Math.min(FIRST_CONTEXT, longest));
  const [batch, setBatch] = useState(1);
  const [dtype, setDtype] = useState<Dtype>("auto");
  const [answers, setAnswers] = useState<Answer[]>([]);
  const [failure, setFailure] = useState<{ asked: string; problem: ProblemView } | null>(null);
  const [round, setRound] = useState(0);
  const stops = useMemo(() => contextStops(longest), [longest]);

  const chosen = keyOf({ dtype, context, batch });
  const [settled] = useDebouncedValue(chosen, ASK_AFTER_MS);
  const known = (key: string) => answers.some((answer) => answer.whole && keyOf(answer) === key);
  const asked = target === null || known(settled) ? null : settled;
  const [retries, setRetries] = useState({ of: chosen, done: 0 });
  const told = answers.find((answer) => answer.whole && keyOf(answer) === chosen);
  const wait = AGAIN_MS[retries.of === chosen ? Math.min(retries.done, AGAIN_MS.length - 1) : 0];
  const improving = target !== null && told?.estimate.may_improve === true;
  const isAnswered = useEffectEvent((of: Dtype) => answers.some((answer) => answer.dtype === of));
  const row = target?.row ?? null;
  const modelId = target?.model_id ?? "";
  const revision = target?.revision ?? "";

  useEffect(() => {
    if (asked === null) return;
    const controller = new AbortController();
    const query = askedBy(asked);
    const { dtype: of } = query;
    const ask = (parts: EstimateParts) => askFor({ row, modelId, revision }, query, parts, controller.signal);
    const early = setTimeout(() => {
      if (isAnswered(of)) return;
      ask("weights").then(
        (estimate) =>
          setAnswers((before) =>
            before.some((answer) => answer.dtype === of) ? before : [{ ...query, estimate, whole: false }, ...before],
          ),
        // Whatever is in its way is in the way of the whole answer too, which tells.
        () => undefined,
      );
    }, AT_ONCE_MS);
    ask("all").then(
      (estimate) =>
        setAnswers((before) => [
          { ...query, estimate, whole: true },
          ...before.filter((answer) => answer.whole || answer.dtype !== of),
        ]),
      (error: unknown) => {
        clearTimeout(early);
        if (!isAbort(error) && !controller.signal.aborted) setFailure({ asked, problem: toProblem(error) });
      },
    );
    return () => {
      clearTimeout(early);
      controller.abort();
    };
  }, [asked, row, modelId, revision, round]);

  useEffect(() => {
    if (!improving) return;
    const controller = new AbortController();
    const query = askedBy(chosen);
    const timer = setTimeout(() => {
      askFor({ row, modelId, revision }, query, "all", controller.signal)
        .then(
          (estimate) =>
            setAnswers((before) => [
              { ...query, estimate, whole: true },
              ...before.filter((answer) => !answer.whole || keyOf(answer) !== chosen),
            ]),
          // What is shown stays as it is; the next try may do better.
          () => undefined,
        )
        .finally(() => {
          if (!controller.signal.aborted)
            setRetries(({ of, done }) => ({ of: chosen, done: of === chosen ? done + 1 : 1 }));
        });
    }, wait);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [improving, wait, chosen, row, modelId, revision, retries]);

  const current = useMemo(() => answers.filter((answer) => answer.dtype === dtype), [answers, dtype]);
  const estimate = (current[0] ?? answers[0])?.estimate ?? null;
  const failed = failure !== null && failure.asked === chosen;
  const loading = target !== null && !known(chosen) && !failed;
  return {
    context,
    batch,
    dtype,
    longest,
    stops,
    setContext,
    setBatch,
    setDtype,
    estimate,
    options: usePlannedOptions(estimate, current.length > 0 ? current : answers, { context, batch }, longest),
    loading,
    weightsOnly: loading && current[0]?.whole === false,
    improving,
    outdated: estimate !== null && current.length === 0,
    problem: failed ? failure.problem : null,
    reload: useCallback(() => {
      setAnswers((before) => before.filter((answer) => answer.dtype !== dtype));
      setFailure(null);
      setRetries({ of: "", done: 0 });
      setRound((value) => value + 1);
    }, [dtype]),
  };
}

function askFor(
  { row, modelId, revision }: { row: string | null; modelId: string; revision: string },
  query: Asked,
  parts: EstimateParts,
  signal: AbortSignal,
): Promise<MemoryEstimate> {
  return row === null
    ? estimateMemory({ model_id: modelId, revision, ...query, parts }, signal)
    : estimateLocalMemory(row, { ...query, parts }, signal);
}

function usePlannedOptions(
  estimate: MemoryEstimate | null,
  answers: Answer[],
  { context, batch }: Workload,
  longest: number,
): PlannedOption[] {
  const machine = useSystemStore((state) => state.system?.devices);
  return useMemo(() => {
    if (estimate === null) return [];
    const told = answers.find((answer) => answer.context === context && answer.batch === batch)?.estimate;
    return estimate.options.map((option) => {
      const samples = samplesOf(answers, option.quantization);
      const needAt = (tokens: number) =>
        needOf(option, estimate.kv_cache_segments, samples, { context: tokens, batch });
      const need = needAt(context);
      const toldOf = told?.options.find(({ quantization }) => quantization === option.quantization);
      const fits = devicesOf(machine, option).map(({ device, free, total }) => ({
        device,
        free,
        total,
        verdict: option.available ? verdictOn(device, need, free, toldOf) : "unknown",
        reach: free === null ? null : longestFit(needAt, free, longest),
      }));
      return {
        option,
        quantization: option.quantization,
        need,
        fits,
        verdict: kindest(fits.map(({ verdict }) => verdict)),
      };
    });
  }, [estimate, answers, machine, context, batch, longest]);
}

/** Of a total that is not whole, only the server knows whether the rest fits: it has an upper bound for it. */
function verdictOn(device: string, need: Need, free: number | null, told: MemoryOption | undefined): Verdict {
  const verdict = verdictFor(need.required, free);
  if (!need.partial || verdict === "does_not_fit") return verdict;
  return told?.verdicts.find((candidate) => candidate.device === device)?.verdict ?? "unknown";
}

function samplesOf(answers: Answer[], quantization: Quantization): ActivationSample[] {
  return answers
    .filter(({ whole }) => whole)
    .map(({ context, batch, estimate }) => ({
      context,
      batch,
      bytes: estimate.options.find((option) => option.quantization === quantization)?.activation_bytes ?? null,
    }));
}

/** This machine's devices as they are now; until they are known, as the answer told them. */
function devicesOf(
  machine: { id: string; free_bytes: number; total_bytes: number }[] | undefined,
  option: MemoryOption,
): Pick<DeviceFit, "device" | "free" | "total">[] {
  const devices =
    machine?.map(({ id, free_bytes, total_bytes }) => ({ device: id, free: free_bytes, total: total_bytes })) ??
    option.verdicts.map(({ device, free_bytes, total_bytes }) => ({ device, free: free_bytes, total: total_bytes }));
  return devices.toSorted((a, b) => Number(a.device === "cpu") - Number(b.device === "cpu"));
}

function keyOf({ dtype, context, batch }: Asked): string {
  return [dtype, context, batch].join(" ");
}

function askedBy(key: string): Asked {
  const [dtype, context, batch] = key.split(" ");
  return { dtype: dtype as Dtype, context: Number(context), batch: Number(batch) };
}
