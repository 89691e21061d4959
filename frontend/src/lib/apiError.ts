import type { OpenAIError, Problem } from "../types/model";

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

/** The error that a body holds, as the REST API or as OpenAI's writes it, whose message says what to do next as well. */
export function errorFromBody(body: object, status: number): ApiError {
  if (!("error" in body)) return new ApiError({ ...(body as Partial<Problem>), status });
  const { code, message } = (body as OpenAIError).error;
  return new ApiError({ status, code, detail: message });
}

export function unreachable(detail: string): ApiError {
  return new ApiError({
    status: 0,
    code: "server_unreachable",
    detail,
    hint: "Check that `modelyard serve` is running; the page reconnects by itself.",
  });
}

/** What a stream rejects with that has no end of its own. */
export function cutOff(): ApiError {
  return unreachable("The connection ended before the answer did.");
}

export function isAbort(error: unknown): boolean {
  return typeof error === "object" && error !== null && "name" in error && error.name === "AbortError";
}
