import { ApiError } from "./apiError";
import type { Model, RowError } from "../types/model";
import { waitsForDisk } from "./labels";

/** What went wrong and what to do, in the one shape every error view takes. */
export interface ProblemView {
  code: string;
  message: string;
  hint: string | null;
}

export function toProblem(error: unknown): ProblemView {
  if (error instanceof ApiError) return { code: error.code, message: error.detail, hint: error.hint };
  return { code: "internal_error", message: error instanceof Error ? error.message : String(error), hint: null };
}

export function fromRow(error: RowError): ProblemView {
  return { code: error.code, message: error.message, hint: error.hint ?? null };
}

/** The same of a row in its state: what waits for room goes on by itself, whatever the hint advises besides. */
export function problemOf(model: Model): ProblemView | null {
  if (model.error === null) return null;
  const problem = fromRow(model.error);
  return waitsForDisk(model) && problem.code === "disk_full"
    ? { ...problem, hint: "Free space, or use another disk. It resumes when there is room." }
    : problem;
}

/** Where the server explains a code, relative to the page's base; null where there is none, or nobody to ask. */
export function helpAddress(code: string): string | null {
  return code === "" || code === "server_unreachable" ? null : `docs/errors#${code}`;
}

/** Whether a hint says no more than the button below it. */
export function onlyRepeats(hint: string | null): boolean {
  return hint !== null && /^(try again|retry)\.?$/i.test(hint);
}

/** The step that moves on from a problem, chosen by its code. */
export type NextStep = "settings" | "licence" | "free-space" | "smaller" | "another" | "retry";

export function nextSteps(code: string): NextStep[] {
  switch (code) {
    case "gated_no_token":
    case "token_invalid":
    case "hub_rate_limited":
      return ["settings", "retry"];
    case "gated_not_accepted":
      return ["licence", "retry"];
    case "hub_unreachable":
      return ["settings", "retry"];
    case "disk_full":
      return ["free-space", "retry"];
    case "out_of_memory":
      return ["smaller", "retry"];
    case "hub_model_not_found":
      return ["another", "retry"];
    case "unsupported_architecture":
    case "needs_custom_code":
    case "invalid_repository":
    case "no_weights":
    case "unsafe_weights":
    case "already_quantized":
      return ["another"];
    default:
      return ["retry"];
  }
}
