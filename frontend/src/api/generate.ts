import { sseData } from "../lib/sse";
import type { Generated, GenerateRequest, RowError } from "../types/model";
import { ApiError, isAbort, unreachable } from "../lib/apiError";
import { open } from "./client";

/**
 * Text as it is generated; the generator's result has the figures. The model is loaded first where it is not. Rejects
 * with ApiError, or with AbortError when the signal fired: that stops the generation on the server too.
 */
export async function* generate(
  id: string,
  body: GenerateRequest,
  signal: AbortSignal,
): AsyncGenerator<string, Generated> {
  const response = await open("POST", `/models/${id}/generate`, { body: { ...body, stream: true }, signal });
  if (response.body === null) throw cutOff();
  try {
    for await (const data of sseData(response.body, signal)) {
      const event = JSON.parse(data) as { delta: string } | ({ done: true } & (Generated | { error: RowError }));
      if (!("done" in event)) yield event.delta;
      else if ("error" in event)
        throw new ApiError({
          status: 200,
          code: event.error.code,
          detail: event.error.message,
          hint: event.error.hint ?? null,
        });
      else return event;
    }
  } catch (error) {
    throw error instanceof ApiError || isAbort(error) ? error : cutOff();
  }
  throw cutOff();
}

function cutOff(): ApiError {
  return unreachable("The connection ended before the answer did.");
}
