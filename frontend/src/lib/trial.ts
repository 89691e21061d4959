import type { AnswerRequest, ChatMessage, FinishReason, Intervention, Model } from "../types/model";
import type { WrittenToken } from "./tokens";

/** What is tried with a model: a chat, or the continuation of a text. */
export type Mode = "chat" | "text";

/** A question and its answer, or a text and its continuation. */
export interface Turn {
  asked: string;
  answer: string;
  /** Empty where no log-probabilities were asked for. */
  tokens: WrittenToken[];
  /** Null while it is being written. */
  figures: Figures | null;
}

/** How an answer ended, measured in the page; null is unknown. */
export interface Figures {
  ended: FinishReason | "stopped" | "failed";
  newTokens: number | null;
  tokensPerSecond: number | null;
  firstTokenSeconds: number | null;
}

/** Numbers are empty while a field is being written anew; `topP` and `seed` may stay so. */
export interface Settings {
  maxTokens: number | "";
  temperature: number | "";
  topP: number | "";
  seed: number | "";
  /** One a line, with `\n` for a line break. */
  stop: string;
  system: string;
  logprobs: boolean;
  /** Features of SAEs that are held at a value. */
  clamps: Clamp[];
}

/** A feature of an SAE on the shelf. */
export interface Clamp {
  saeId: string;
  saeName: string;
  feature: number;
  value: number | "";
}

export const DEFAULTS: Settings = {
  maxTokens: 512,
  temperature: 0.7,
  topP: "",
  seed: "",
  stop: "",
  system: "",
  logprobs: false,
  clamps: [],
};

/** How many of the likeliest tokens are asked for at each place. */
const TOP = 5;

/** Chat where the model has a template for it. */
export function suggestedMode({ has_chat_template }: Model): Mode {
  return has_chat_template === true ? "chat" : "text";
}

export function isComplete({ maxTokens, temperature, clamps }: Settings): boolean {
  return maxTokens !== "" && temperature !== "" && clamps.every(({ value }) => value !== "");
}

/** The request that answers what is asked after these turns; `model` is a name of OpenAI's API, or a row's id. */
export function requestFor(
  model: string,
  mode: Mode,
  settings: Settings,
  turns: readonly Turn[],
  asked: string,
): AnswerRequest {
  const { maxTokens, temperature, topP, seed, logprobs } = settings;
  const stop = stopStrings(settings.stop);
  const common = {
    max_tokens: Number(maxTokens),
    temperature: Number(temperature),
    ...(topP !== "" && { top_p: topP }),
    ...(seed !== "" && { seed }),
    ...(stop.length > 0 && { stop }),
    ...(settings.clamps.length > 0 && { modelyard: { interventions: settings.clamps.map(interventionOf) } }),
  };
  if (mode === "text")
    return {
      path: "/completions",
      body: { model, prompt: asked, ...common, ...(logprobs && { logprobs: TOP }) },
    };
  return {
    path: "/chat/completions",
    body: {
      model,
      messages: messagesOf(settings.system, turns, asked),
      ...common,
      ...(logprobs && { logprobs, top_logprobs: TOP }),
    },
  };
}

function interventionOf({ saeId, feature, value }: Clamp): Intervention {
  return { op: "sae_clamp", sae_id: saeId, feature, value: Number(value), positions: "all" };
}

/** The clamps with one more, or with another value of one that is there. */
export function withClamp(clamps: readonly Clamp[], clamp: Clamp): Clamp[] {
  return [...clamps.filter(({ saeId, feature }) => saeId !== clamp.saeId || feature !== clamp.feature), clamp];
}

function messagesOf(system: string, turns: readonly Turn[], asked: string): ChatMessage[] {
  return [
    ...(system.trim() === "" ? [] : [{ role: "system" as const, content: system }]),
    ...turns.flatMap((turn): ChatMessage[] => [
      { role: "user", content: turn.asked },
      { role: "assistant", content: turn.answer },
    ]),
    { role: "user", content: asked },
  ];
}

const ESCAPED: Record<string, string> = { "\\n": "\n", "\\t": "\t", "\\\\": "\\" };

function stopStrings(lines: string): string[] {
  return lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replaceAll(/\\[nt\\]/g, (escaped) => ESCAPED[escaped] ?? escaped));
}

/** The model's name in OpenAI's API; with its commit where another row that is ready would be meant without. */
export function openaiName(model: Model, rows: readonly Model[]): string {
  // What the server could not read as a name; a row's id is one too.
  if (!/^[^@:+\s]+$/.test(model.model_id)) return model.id;
  const isOne = rows.every(
    ({ id, status, model_id, quantization }) =>
      id === model.id || status !== "ready" || model_id !== model.model_id || quantization !== model.quantization,
  );
  const commit = isOne ? "" : `@${model.commit.slice(0, 12)}`;
  return `${model.model_id}${commit}${model.quantization === "none" ? "" : `:${model.quantization}`}`;
}
