import { DEFAULTS, type Mode, type Settings, type Turn } from "../lib/trial";

/** What outlives the page, of one model; without log-probabilities, which are large. */
export interface SavedTrial {
  mode: Mode | null;
  drafts: Record<Mode, string>;
  turns: Record<Mode, Turn[]>;
  settings: Settings;
}

const INDEX = "modelyard.try";
const VERSION = 1;
const MODELS = 20;
/** Of one model's turns; the oldest ones go first. */
const CHARACTERS = 200_000;

const keyOf = (id: string) => `${INDEX}.${id}`;

/** What was tried with a model; null where nothing was, or another version of the page wrote it. */
export function savedTrial(id: string): SavedTrial | null {
  const text = localStorage.getItem(keyOf(id));
  if (text === null) return null;
  const { version, ...saved } = JSON.parse(text) as SavedTrial & { version?: number };
  return version === VERSION ? { ...saved, settings: { ...DEFAULTS, ...saved.settings } } : null;
}

/** Keeps what is tried with a model; of the models used least recently, what no longer has room goes. */
export function saveTrial(id: string, { mode, drafts, turns, settings }: SavedTrial): void {
  const kept = { chat: bounded(turns.chat), text: bounded(turns.text) };
  const text = JSON.stringify({ version: VERSION, mode, drafts, turns: kept, settings });
  const others = savedIds().filter((other) => other !== id);
  for (const gone of others.splice(MODELS - 1)) localStorage.removeItem(keyOf(gone));
  for (;;) {
    try {
      localStorage.setItem(keyOf(id), text);
      localStorage.setItem(INDEX, JSON.stringify([id, ...others]));
      return;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      // The browser has no room: older conversations make some; without any, this one lasts as long as the page.
      const oldest = others.pop();
      if (oldest === undefined) return;
      localStorage.removeItem(keyOf(oldest));
    }
  }
}

function savedIds(): string[] {
  return JSON.parse(localStorage.getItem(INDEX) ?? "[]") as string[];
}

function bounded(turns: Turn[]): Turn[] {
  const kept: Turn[] = [];
  let characters = 0;
  for (const turn of turns.toReversed()) {
    characters += turn.asked.length + turn.answer.length;
    if (characters > CHARACTERS) break;
    kept.unshift({ ...turn, tokens: [] });
  }
  return kept;
}
