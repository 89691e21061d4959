import { ApiError, cutOff, isAbort } from "../lib/apiError";
import { sseData } from "../lib/sse";
import type { CompareRequest, CompareStep, Comparison } from "../types/compare";
import type { RowError } from "../types/model";
import { open } from "./client";

type Event = { step: CompareStep } | { done: true; result: Comparison } | { done: true; error: RowError };

/**
 * What a comparison is doing; the generator's result is the comparison. Rejects with ApiError, or with AbortError when
 * the signal fired: that stops the work on the server too.
 */
export async function* compare(body: CompareRequest, signal: AbortSignal): AsyncGenerator<CompareStep, Comparison> {
  const response = await open("POST", "/compare", { body: { ...body, stream: true }, signal });
  if (response.body === null) throw cutOff();
  try {
    for await (const data of sseData(response.body, signal)) {
      const event = JSON.parse(data) as Event;
      if ("step" in event) yield event.step;
      else if ("result" in event) return event.result;
      else {
        const { code, message, hint } = event.error;
        throw new ApiError({ status: 200, code, detail: message, hint: hint ?? null });
      }
    }
  } catch (error) {
    throw error instanceof ApiError || isAbort(error) ? error : cutOff();
  }
  throw cutOff();
}
