import type { AnswerRequest, ChatLogprobs, CompletionLogprobs, FinishReason } from "../types/model";
import { http, HttpResponse, server } from "./handlers";

interface Wanted {
  texts?: string[];
  /** One of each text. */
  logprobs?: (ChatLogprobs | CompletionLogprobs)[];
  finish?: FinishReason;
  tokens?: number;
  /** What comes in place of an ending: an error, or nothing, with the connection closed or open. */
  instead?: { code: string; message: string } | "cut off" | "nothing";
}

/** Answers `/v1` as the server does, and keeps what it was asked. */
export function streams({ texts = [], logprobs, finish = "stop", tokens = texts.length, instead }: Wanted) {
  const asked: AnswerRequest["body"][] = [];
  let aborted = false;
  const answer = (piece: (text: string) => object) =>
    async function reply({ request }: { request: Request }) {
      asked.push((await request.json()) as AnswerRequest["body"]);
      const chunk = (choice: object) => ({ choices: [{ index: 0, logprobs: null, finish_reason: null, ...choice }] });
      const events: unknown[] = texts.map((text, index) =>
        chunk({ ...piece(text), logprobs: logprobs?.[index] ?? null }),
      );
      if (instead === undefined) {
        events.push(chunk({ ...piece(""), finish_reason: finish }));
        events.push({ choices: [], usage: { prompt_tokens: 5, completion_tokens: tokens, total_tokens: tokens + 5 } });
      } else if (typeof instead === "object") events.push({ error: instead });
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          const send = (data: string) => controller.enqueue(new TextEncoder().encode(`data: ${data}\n\n`));
          for (const event of events) send(JSON.stringify(event));
          if (instead === undefined) send("[DONE]");
          if (instead !== "nothing") controller.close();
        },
        cancel() {
          aborted = true;
        },
      });
      return new HttpResponse(body, { headers: { "Content-Type": "text/event-stream" } });
    };
  server.use(
    http.post(
      "*/v1/chat/completions",
      answer((content) => ({ delta: { content } })),
    ),
    http.post(
      "*/v1/completions",
      answer((text) => ({ text })),
    ),
  );
  return { asked, wasAborted: () => aborted };
}

/** A refusal in OpenAI's form. */
export function refuses(status: number, code: string, message: string): void {
  const error = { message, type: "invalid_request_error", code, param: null };
  const answer = () => HttpResponse.json({ error }, { status });
  server.use(http.post("*/v1/chat/completions", answer), http.post("*/v1/completions", answer));
}
