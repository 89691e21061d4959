import type { ChatLogprobs, CompletionLogprobs } from "../types/model";

/** A token that could have come; `logprob` is null where nothing came before it. */
export interface LikelyToken {
  text: string;
  logprob: number | null;
}

/** A token of an answer, and the likeliest ones at its place, the likeliest first. */
export interface WrittenToken extends LikelyToken {
  /** Its part of the answer; bytes of a character that is not whole yet come with the token that completes it. */
  bytes: number[];
  top: LikelyToken[];
}

/** The tokens of a chunk, whichever of OpenAI's two forms it has; none where there are no log-probabilities. */
export function readTokens(logprobs: ChatLogprobs | CompletionLogprobs | null): WrittenToken[] {
  if (logprobs === null) return [];
  if ("content" in logprobs)
    return logprobs.content.map(({ token, logprob, bytes, top_logprobs }) => ({
      text: readable(token, bytes),
      logprob,
      bytes: bytes ?? encode(token),
      top: top_logprobs.map((top) => ({ text: readable(top.token, top.bytes), logprob: top.logprob })),
    }));
  return logprobs.tokens.map((token, index) => ({
    text: token,
    logprob: logprobs.token_logprobs[index] ?? null,
    bytes: bytesOf(token),
    top: Object.entries(logprobs.top_logprobs[index] ?? {})
      .map(([text, logprob]) => ({ text, logprob }))
      .sort((a, b) => b.logprob - a.logprob),
  }));
}

const encode = (text: string) => [...new TextEncoder().encode(text)];

/** A token's text; its bytes where they are only a part of a character, as the older form writes them. */
function readable(token: string, bytes: number[] | null): string {
  if (bytes === null) return token;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(bytes));
    return token;
  } catch {
    return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

function bytesOf(token: string): number[] {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(token)) return encode(token);
  return token
    .slice("bytes:\\x".length)
    .split("\\x")
    .map((byte) => Number.parseInt(byte, 16));
}

/** A stretch of an answer that can be shown: one token, or those that make up a character together. */
export interface Stretch {
  text: string;
  tokens: WrittenToken[];
}

export function stretches(tokens: readonly WrittenToken[]): Stretch[] {
  const decoder = new TextDecoder();
  const found: Stretch[] = [];
  let open: WrittenToken[] = [];
  for (const token of tokens) {
    open.push(token);
    const text = decoder.decode(new Uint8Array(token.bytes), { stream: true });
    if (text === "") continue;
    found.push({ text, tokens: open });
    open = [];
  }
  if (open.length > 0) found.push({ text: decoder.decode(), tokens: open });
  return found;
}

/** A probability in percent: 93 %, 4.1 %, 0.02 %, < 0.01 %. */
export function formatProbability(logprob: number | null): string {
  if (logprob === null) return "";
  const percent = Math.exp(logprob) * 100;
  if (percent < 0.01) return "< 0.01 %";
  return `${percent >= 10 ? percent.toFixed(1) : percent.toPrecision(2)} %`;
}

/** A token so that its spaces and line breaks are seen. */
export function visibleToken(text: string): string {
  return text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥");
}
