import type { Problem } from "../types/model";

/** An answer that is not a success: the server's problem document, or what stood in its way. */
export class ApiError extends Error {
  readonly code: string;
  readonly detail: string;
  readonly hint: string | null;
  readonly status: number;
  readonly problem: Partial<Problem>;

  constructor(problem: Partial<Problem> & { status: number }) {
    const detail = problem.detail ?? problem.title ?? `The server answered ${problem.status}.`;
    super(detail);
    this.name = "ApiError";
    this.code = problem.code ?? "internal_error";
    this.detail = detail;
    this.hint = problem.hint ?? null;
    this.status = problem.status;
    this.problem = problem;
  }
}

export function unreachable(detail: string): ApiError {
  return new ApiError({
    status: 0,
    code: "server_unreachable",
    detail,
    hint: "Check that `modelyard serve` is running; the page reconnects by itself.",
  });
}

export function isAbort(error: unknown): boolean {
  return typeof error === "object" && error !== null && "name" in error && error.name === "AbortError";
}
