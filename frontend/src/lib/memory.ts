/** What a model needs for a context and a batch: the server's own arithmetic, so that a slider needs no request. */
import type { FastDtype, KvCacheSegment, MemoryOption, Verdict } from "../types/model";
import { formatBytes } from "./bytes";
import { verdictFor } from "./fit";

export interface Workload {
  /** Tokens per sequence. */
  context: number;
  /** Sequences at once. */
  batch: number;
}

/** Activations as the server told them for one workload; null where it could not tell. */
export interface ActivationSample extends Workload {
  bytes: number | null;
}

export interface Activations {
  bytes: number | null;
  /** In proportion to another workload's figure, not asked for this one. */
  scaled: boolean;
}

export const PARTS = ["weights", "state", "cache", "activations", "overhead"] as const;
export type PartName = (typeof PARTS)[number];

export const PART_LABEL: Record<PartName, string> = {
  weights: "weights",
  state: "quantization state",
  cache: "KV cache",
  activations: "activations",
  overhead: "overhead",
};

export interface Part {
  name: PartName;
  /** Null is unknown. */
  bytes: number | null;
}

export interface Need {
  /** Every part that takes room, and every one that is not known. */
  parts: Part[];
  /** Sum of the parts that are known; null where not even the weights are. */
  total: number | null;
  /** What must be free: the total, or the peak while loading where that is more. */
  required: number | null;
  /** Some part is not known, so the total is a lower bound. */
  partial: boolean;
  /** The parts that no figure was told for; of packed weights it is what becomes of them that is not known. */
  missing: PartName[];
  /** The activations are in proportion, so the total is approximate. */
  scaled: boolean;
}

/** Bytes of the cache for a whole batch: the last segment that begins at or before the context, continued. */
export function kvCacheBytes(segments: KvCacheSegment[], { context, batch }: Workload): number | null {
  const last = segments.filter((segment) => segment.from_tokens <= context).at(-1);
  return last === undefined ? null : batch * (last.bytes_at_from + (context - last.from_tokens) * last.bytes_per_token);
}

/** The figure that was told for this very workload, else the nearest one in proportion to the tokens. */
export function activationsFor(samples: ActivationSample[], workload: Workload): Activations {
  const told = samples.find(({ context, batch }) => context === workload.context && batch === workload.batch);
  if (told !== undefined) return { bytes: told.bytes, scaled: false };
  const wanted = tokensOf(workload);
  const distance = (sample: ActivationSample) => Math.abs(Math.log(tokensOf(sample) / wanted));
  const nearest = samples.toSorted((a, b) => distance(a) - distance(b))[0];
  if (nearest?.bytes == null) return { bytes: null, scaled: false };
  return { bytes: Math.round((nearest.bytes * wanted) / tokensOf(nearest)), scaled: true };
}

function tokensOf({ context, batch }: Workload): number {
  return context * batch;
}

export function needOf(
  option: MemoryOption,
  segments: KvCacheSegment[],
  samples: ActivationSample[],
  workload: Workload,
): Need {
  const { weights_bytes: resident, quantization_state_bytes: state } = option;
  const activations = activationsFor(samples, workload);
  // The state is a part of the weights' figure.
  const parts: Part[] = [
    { name: "weights", bytes: resident === null ? null : resident - (state ?? 0) },
    { name: "state", bytes: state ?? 0 },
    { name: "cache", bytes: kvCacheBytes(segments, workload) },
    { name: "activations", bytes: activations.bytes },
    { name: "overhead", bytes: option.overhead_bytes },
  ];
  const total = resident === null ? null : parts.reduce((sum, part) => sum + (part.bytes ?? 0), 0);
  const missing = total === null ? [] : parts.filter((part) => part.bytes === null).map(({ name }) => name);
  return {
    parts: parts.filter((part) => part.bytes !== 0),
    total,
    required: total === null ? null : Math.max(total, option.load_peak_bytes ?? 0),
    partial: missing.length > 0 || (total !== null && option.total_is_lower_bound),
    missing,
    scaled: total !== null && activations.scaled,
  };
}

const FINE_TOKENS = 64;

/**
 * The longest context up to `longest` for which the verdict is still "fits"; 0 where none is, null where it cannot be
 * told. Rounded down to a round number of tokens unless it is `longest` itself.
 */
export function longestFit(needAt: (context: number) => Need, free: number, longest: number): number | null {
  const fits = (context: number) => {
    const { required } = needAt(context);
    return required !== null && verdictFor(required, free) === "fits";
  };
  const atOne = needAt(1);
  if (atOne.required === null || atOne.missing.includes("cache") || atOne.missing.includes("activations")) return null;
  if (!fits(1)) return 0;
  if (fits(longest)) return longest;
  let good = 1;
  let bad = longest;
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (fits(middle)) good = middle;
    else bad = middle;
  }
  return good < FINE_TOKENS ? good : good - (good % FINE_TOKENS);
}

const FIRST_STOP = 128;

/** Contexts a slider stops at: powers of two and what lies half-way between, then the longest itself. */
export function contextStops(longest: number): number[] {
  const stops: number[] = [];
  for (let power = FIRST_STOP; power < longest; power *= 2) {
    stops.push(power);
    if (power * 1.5 < longest) stops.push(power * 1.5);
  }
  return [...stops, longest];
}

export const BATCH_STOPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/** The kindest of several verdicts. */
export function kindest(verdicts: Verdict[]): Verdict {
  const order: Verdict[] = ["fits", "tight", "unknown", "does_not_fit"];
  return order.find((verdict) => verdicts.includes(verdict)) ?? "unknown";
}

const BEYOND = 4;

/** Where a chart of these needs ends: limits far beyond them would leave nothing to see and stay outside. */
export function axisEnd(needs: number[], limits: number[]): number {
  const largest = Math.max(0, ...needs);
  const shown = limits.filter((limit) => limit <= largest * BEYOND);
  return Math.max(largest * 1.04, ...shown.map((limit) => limit * 1.02));
}

/** Round figures from 0 to the end of an axis, at most so many steps apart. */
export function axisTicks(end: number, steps: number): number[] {
  if (end <= 0) return [0];
  const rough = end / steps;
  const scale = 10 ** Math.floor(Math.log10(rough));
  const step = scale * ([1, 2, 5, 10].find((factor) => factor * scale >= rough) ?? 10);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
}

/** What loading in the faster dtype gains and costs: "float32 here: 12 × faster prefill, +269 MB". */
export function fasterDtypeLabel({ dtype, prefill_speedup }: FastDtype, moreBytes: number | null | undefined): string {
  const more = moreBytes == null ? "" : `, +${formatBytes(moreBytes)}`;
  return `${dtype} here: ${Number(prefill_speedup.toPrecision(3))} × faster prefill${more}`;
}
