import type { ComparedSide, ComparedToken, CompareStep, Comparison, Side } from "../types/compare";
import type { Model } from "../types/model";
import { formatBytes } from "./bytes";
import { formatProbability } from "./tokens";

/** How far apart two models are at a token: the least absolute difference in nats of each level, and its name. */
export const LEVELS = [
  { level: "none", from: 0, label: "less than 0.1" },
  { level: "small", from: 0.1, label: "0.1 to 0.5" },
  { level: "medium", from: 0.5, label: "0.5 to 2" },
  { level: "large", from: 2, label: "2 or more" },
] as const;

export type Level = (typeof LEVELS)[number]["level"] | "unknown";

/** What is shown as one: a token, or those that make up a character together. */
export interface Piece {
  text: string;
  tokens: ComparedToken[];
  /** Index of the first token. */
  place: number;
  level: Level;
}

/** The absolute difference of the log-probabilities; null where the other model's is not known. */
export function difference({ logprob, other_logprob }: ComparedToken): number | null {
  return other_logprob === null ? null : Math.abs(logprob - other_logprob);
}

/** A text as pieces: tokens that hold a part of a character stand with the one that completes it. */
export function piecesOf(tokens: ComparedToken[]): Piece[] {
  const pieces: Piece[] = [];
  let begun: ComparedToken[] = [];
  tokens.forEach((token, index) => {
    begun.push(token);
    if (token.text === "" && index < tokens.length - 1) return;
    const text = token.text === "" ? "\ufffd" : token.text;
    pieces.push({ text, tokens: begun, place: index + 1 - begun.length, level: levelOf(begun) });
    begun = [];
  });
  return pieces;
}

function levelOf(tokens: ComparedToken[]): Level {
  const known = tokens.map(difference).filter((value) => value !== null);
  if (known.length === 0) return "unknown";
  const most = Math.max(...known);
  return LEVELS.findLast(({ from }) => most >= from)?.level ?? "none";
}

/** A token's text where it has to be seen as one. */
export function quoted(text: string): string {
  return `“${text.replaceAll("\n", "↵").replaceAll("\t", "⇥")}”`;
}

export function formatLogprob(value: number): string {
  return value.toFixed(2).replace("-", "−");
}

/** A log-probability with what it is as a share. */
export function formatChance(logprob: number): string {
  return `${formatLogprob(logprob)} (${formatProbability(logprob)})`;
}

/** The numbers of a token in a sentence. */
export function tokenFacts(token: ComparedToken): string {
  const own = `log-probability ${formatChance(token.logprob)}`;
  if (token.other_logprob === null) return `${quoted(token.text)}: ${own}`;
  const apart = `other model ${formatChance(token.other_logprob)}, difference ${(difference(token) ?? 0).toFixed(2)}`;
  const choice = token.other_choice;
  const would =
    choice === null || choice.id === token.id
      ? "its choice too"
      : `it would choose ${quoted(choice.text)} at ${formatChance(choice.logprob)}`;
  return `${quoted(token.text)}: ${own}, ${apart}; ${would}`;
}

/** How far two models agree, in sentences. */
export function summary({ left, right, agreement, reason }: Comparison): string[] {
  const sentences = [divergence(left, right)];
  if (agreement !== null)
    sentences.push(
      `The other model finds ${agreement.same_choice.toLocaleString("en")} of ${countTokens(agreement.tokens)} the most likely too.`,
      `Log-probabilities differ by ${agreement.mean_difference.toFixed(3)} nats on average, ${agreement.largest_difference.toFixed(3)} at most.`,
    );
  if (reason !== null) sentences.push(reason);
  return sentences;
}

function divergence(left: ComparedSide, right: ComparedSide): string {
  const first = left.first_divergence;
  if (first === null) return `Both texts are the same (${countTokens(left.tokens.length)}).`;
  const begin =
    first === 0 ? "The texts differ from the first token" : `The texts are the same for ${countTokens(first)}`;
  return `${begin}; then the left one has ${tokenAt(left)}, the right one ${tokenAt(right)}.`;
}

function tokenAt({ tokens, first_divergence: place }: ComparedSide): string {
  const token = place === null ? undefined : tokens[place];
  return token === undefined ? "ended" : quoted(token.text);
}

export function countTokens(count: number): string {
  return count === 1 ? "1 token" : `${count.toLocaleString("en")} tokens`;
}

/** What is being done, in words. */
export function stepLabel({ work, waiting, phase, message, bytes_done, bytes_total }: CompareStep): string {
  if (waiting) return "waiting for a worker";
  if (phase === "generating") return work === "write" ? "generating" : "reading the other text";
  if (phase === "loading") {
    const read = bytes_total === null ? "" : `, ${formatBytes(bytes_done)} of ${formatBytes(bytes_total)}`;
    return `loading${message === null ? "" : `: ${message}`}${read}`;
  }
  return message ?? "starting";
}

/** The model to compare one with, unless another is chosen: its original, its base, or its copy. */
export function counterpart(model: Model, models: Model[]): Model | undefined {
  const related = models.filter(
    ({ id, model_id, commit, base_id }) =>
      id !== model.id &&
      (id === model.base_id || base_id === model.id || (model_id === model.model_id && commit === model.commit)),
  );
  return related.find(({ quantization }) => quantization === "none") ?? related[0];
}

/** On which side a model is shown that a comparison begins with: what was made of another stands to its right. */
export function compareSide({ quantization, base_id }: Model): Side {
  return quantization === "none" && base_id === null ? "left" : "right";
}
