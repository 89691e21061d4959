import { ApiError, cutOff, errorFromBody, isAbort } from "../lib/apiError";
import { sseData } from "../lib/sse";
import { readTokens, type WrittenToken } from "../lib/tokens";
import type { AnswerRequest, ChatLogprobs, CompletionLogprobs, FinishReason, OpenAIError, Usage } from "../types/model";
import { open } from "./client";

/** What came of an answer at once; `tokens` is empty where no log-probabilities were asked for. */
export interface Piece {
  text: string;
  tokens: WrittenToken[];
}

export interface Ending {
  finishReason: FinishReason;
  newTokens: number;
}

/** A chunk of either kind of answer. */
interface Chunk {
  choices: {
    delta?: { content?: string };
    text?: string;
    logprobs: ChatLogprobs | CompletionLogprobs | null;
    finish_reason: FinishReason | null;
  }[];
  usage?: Usage | null;
}

/**
 * An answer as it is written; the generator's result is how it ended. The server loads the model first where it is not.
 * Rejects with ApiError, or with AbortError when the signal fired: that stops the server too.
 */
export async function* streamAnswer({ path, body }: AnswerRequest, signal: AbortSignal): AsyncGenerator<Piece, Ending> {
  const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await open("POST", path, { root: "v1", body: streamed, signal });
  if (response.body === null) throw cutOff();
  let finishReason: FinishReason | null = null;
  try {
    for await (const data of sseData(response.body, signal)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data) as Chunk | OpenAIError;
      if ("error" in chunk) throw errorFromBody(chunk, response.status);
      const choice = chunk.choices[0];
      if (choice !== undefined) {
        const text = choice.delta?.content ?? choice.text ?? "";
        const tokens = readTokens(choice.logprobs);
        if (text !== "" || tokens.length > 0) yield { text, tokens };
        finishReason ??= choice.finish_reason;
      }
      if (chunk.usage != null && finishReason !== null)
        return { finishReason, newTokens: chunk.usage.completion_tokens };
    }
  } catch (error) {
    throw error instanceof ApiError || isAbort(error) ? error : cutOff();
  }
  throw cutOff();
}
