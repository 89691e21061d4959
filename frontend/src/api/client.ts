import { ApiError, errorFromBody, isAbort, unreachable } from "../lib/apiError";
import { BASE } from "../lib/base";

type Query = Record<string, string | number | boolean | null | undefined>;

interface RequestOptions {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  /** Which of the server's two APIs the path belongs to; its own, unless OpenAI's is named. */
  root?: "api/v1" | "v1";
  /** It goes on when the page is left. */
  keepalive?: boolean;
}

/** No question takes the server this long, not even a first look into a model or a slow Hub. */
const PATIENCE_MS = 90_000;
const ACCEPT = { Accept: "application/json" };

let onUnauthorized: () => void = () => undefined;

/** Called whenever the server asks for its key, whichever request met it. */
export function setUnauthorizedHandler(handler: () => void): void {
  onUnauthorized = handler;
}

/** One request to the REST API. Rejects with ApiError, or with AbortError when the signal fired. */
export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const response = await open(method, path, options);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** The same, for whoever reads the body piece by piece. */
export async function open(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
  const { query, body, signal, root = "api/v1", keepalive = false } = options;
  const response = await send(root + path + queryString(query), {
    method,
    signal:
      method === "GET"
        ? AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), ...(signal ? [signal] : [])])
        : (signal ?? null),
    // A form names its own type, with the boundary between its parts.
    headers: body === undefined || body instanceof FormData ? ACCEPT : { "Content-Type": "application/json" },
    keepalive,
    body: body === undefined ? null : body instanceof FormData ? body : JSON.stringify(body),
  });
  if (!response.ok) {
    const error = await errorFrom(response);
    if (error.code === "unauthorized") onUnauthorized();
    throw error;
  }
  return response;
}

async function send(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(new URL(url, BASE), init);
  } catch (error) {
    if (isAbort(error)) throw error;
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw unreachable(`The Modelyard server ${late ? "has not answered for too long" : "does not answer"}.`);
  }
}

async function errorFrom(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    return errorFromBody(JSON.parse(text) as object, response.status);
  } catch {
    // A proxy in between answers in its own format.
    return new ApiError({ status: response.status, detail: `${response.status} ${response.statusText}`.trim() });
  }
}

function queryString(query: Query | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") parameters.set(name, String(value));
  }
  return parameters.size === 0 ? "" : `?${parameters.toString()}`;
}
