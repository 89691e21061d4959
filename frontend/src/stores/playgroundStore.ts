import { create } from "zustand";
import { streamAnswer } from "../api/openai";
import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";
import { DEFAULTS, type Figures, isComplete, type Mode, requestFor, type Settings, type Turn } from "../lib/trial";
import { savedTrial, saveTrial } from "./savedTrials";

/** What is being tried with one model; it outlives the tab, so that nothing is lost by looking elsewhere. */
export interface Trial {
  /** Null until one is chosen: what suits the model. */
  mode: Mode | null;
  drafts: Record<Mode, string>;
  settings: Settings;
  /** Chat: what was said so far. Text: the one continuation that is shown. */
  turns: Record<Mode, Turn[]>;
  /** The turn that what is written in the field will replace, with those after it, and what was written there before;
   * chat only. */
  editing: { turn: number; draft: string } | null;
  running: boolean;
  /** It was stopped before anything was answered. */
  stopped: boolean;
  problem: ProblemView | null;
  /** What to do once more after a problem. */
  retry: Retry;
}

type Retry = "send" | "regenerate";

const NEW: Trial = {
  mode: null,
  drafts: { chat: "", text: "" },
  settings: DEFAULTS,
  turns: { chat: [], text: [] },
  editing: null,
  running: false,
  stopped: false,
  problem: null,
  retry: "send",
};

interface Question {
  mode: Mode;
  asked: string;
  /** What was said before. */
  turns: Turn[];
  /** What the field holds meanwhile. */
  draft: string;
  by: Retry;
}

interface PlaygroundState {
  trials: Record<string, Trial>;
  /** Brings back what was tried with the model before the page was opened. */
  recall: (id: string) => void;
  setMode: (id: string, mode: Mode) => void;
  setDraft: (id: string, mode: Mode, text: string) => void;
  setSettings: (id: string, changes: Partial<Settings>) => void;
  /** Asks what is written in the field. */
  send: (id: string, mode: Mode) => Promise<void>;
  /** Asks the last question again. */
  regenerate: (id: string, mode: Mode) => Promise<void>;
  /** Takes a question back into the field; null leaves it as it was. */
  edit: (id: string, turn: number | null) => void;
  clear: (id: string, mode: Mode) => void;
  stop: (id: string) => void;
}

export function trialOf(state: PlaygroundState, id: string): Trial {
  return state.trials[id] ?? NEW;
}

export function canSend({ drafts, settings, running }: Trial, mode: Mode): boolean {
  return !running && drafts[mode].trim() !== "" && isComplete(settings);
}

export const usePlaygroundStore = create<PlaygroundState>()((set, get) => {
  const controllers = new Map<string, AbortController>();

  function change(id: string, changes: Partial<Trial>): void {
    set((state) => ({ trials: { ...state.trials, [id]: { ...trialOf(state, id), ...changes } } }));
  }

  function keep(id: string, changes: Partial<Trial>): void {
    change(id, changes);
    saveTrial(id, trialOf(get(), id));
  }

  function withTurns(id: string, mode: Mode, turns: Turn[]): Pick<Trial, "turns"> {
    return { turns: { ...trialOf(get(), id).turns, [mode]: turns } };
  }

  function withDraft(id: string, mode: Mode, draft: string): Pick<Trial, "drafts"> {
    return { drafts: { ...trialOf(get(), id).drafts, [mode]: draft } };
  }

  function changeLast(id: string, mode: Mode, update: (turn: Turn) => Turn): void {
    const turns = trialOf(get(), id).turns[mode];
    const last = turns.at(-1);
    if (last !== undefined) change(id, withTurns(id, mode, [...turns.slice(0, -1), update(last)]));
  }

  /** Puts back what was there before, save for what was typed meanwhile. */
  function takeBack(id: string, mode: Mode, draft: string, before: Trial): void {
    const typed = trialOf(get(), id).drafts[mode];
    change(id, {
      ...withDraft(id, mode, typed === draft ? before.drafts[mode] : typed),
      ...withTurns(id, mode, before.turns[mode]),
      editing: before.editing,
    });
  }

  /** Asks a question. What was there before comes back where nothing is answered. */
  async function ask(id: string, { mode, asked, turns, draft, by }: Question): Promise<void> {
    const before = trialOf(get(), id);
    const controller = new AbortController();
    controllers.set(id, controller);
    keep(id, {
      ...withDraft(id, mode, draft),
      ...withTurns(id, mode, [...turns, { asked, answer: "", tokens: [], figures: null }]),
      editing: null,
      running: true,
      stopped: false,
      problem: null,
    });
    const watch = new Stopwatch();
    const ended = (how: Figures["ended"], newTokens: number | null) =>
      changeLast(id, mode, (turn) => ({ ...turn, figures: watch.figures(turn, how, newTokens) }));
    try {
      const answer = streamAnswer(requestFor(id, mode, before.settings, turns, asked), controller.signal);
      for (;;) {
        const step = await answer.next();
        if (step.done) {
          ended(step.value.finishReason, step.value.newTokens);
          break;
        }
        const { text, tokens } = step.value;
        watch.note(text, tokens.length);
        changeLast(id, mode, (turn) => ({
          ...turn,
          answer: turn.answer + text,
          tokens: tokens.length === 0 ? turn.tokens : [...turn.tokens, ...tokens],
        }));
      }
    } catch (error) {
      const begun = trialOf(get(), id).turns[mode].at(-1)?.answer !== "";
      if (begun) ended(isAbort(error) ? "stopped" : "failed", null);
      else takeBack(id, mode, draft, before);
      if (!isAbort(error)) change(id, { problem: toProblem(error), retry: begun ? "regenerate" : by });
      else if (!begun) change(id, { stopped: true });
    } finally {
      controllers.delete(id);
      keep(id, { running: false });
    }
  }

  return {
    trials: {},

    recall: (id) => {
      const saved = get().trials[id] === undefined ? savedTrial(id) : null;
      if (saved === null) return;
      change(id, saved);
      // The page was left before it was answered.
      for (const mode of ["chat", "text"] as const) {
        const last = saved.turns[mode].at(-1);
        if (last?.answer !== "" || last.figures !== null) continue;
        change(id, {
          ...withTurns(id, mode, saved.turns[mode].slice(0, -1)),
          ...withDraft(id, mode, saved.drafts[mode] || last.asked),
        });
      }
    },

    setMode: (id, mode) => {
      get().edit(id, null);
      keep(id, { mode, stopped: false, problem: null });
    },

    setDraft: (id, mode, text) => keep(id, withDraft(id, mode, text)),
    setSettings: (id, changes) => keep(id, { settings: { ...trialOf(get(), id).settings, ...changes } }),

    send: async (id, mode) => {
      const trial = trialOf(get(), id);
      if (!canSend(trial, mode)) return;
      const { drafts, editing } = trial;
      const turns = mode === "chat" ? trial.turns.chat.slice(0, editing?.turn) : [];
      const draft = mode === "chat" ? (editing?.draft ?? "") : drafts[mode];
      await ask(id, { mode, asked: drafts[mode], turns, draft, by: "send" });
    },

    regenerate: async (id, mode) => {
      const { turns, drafts, running, settings } = trialOf(get(), id);
      const last = turns[mode].at(-1);
      if (last === undefined || running || !isComplete(settings)) return;
      const before = turns[mode].slice(0, -1);
      await ask(id, { mode, asked: last.asked, turns: before, draft: drafts[mode], by: "regenerate" });
    },

    edit: (id, turn) => {
      const { drafts, editing, turns } = trialOf(get(), id);
      const draft = editing?.draft ?? drafts.chat;
      if (turn === null) keep(id, { ...withDraft(id, "chat", draft), editing: null });
      else keep(id, { ...withDraft(id, "chat", turns.chat[turn]?.asked ?? ""), editing: { turn, draft } });
    },

    clear: (id, mode) => {
      get().edit(id, null);
      keep(id, { ...withTurns(id, mode, []), stopped: false, problem: null });
    },

    stop: (id) => controllers.get(id)?.abort(),
  };
});

/** Measures one answer, from the request to its last text. */
class Stopwatch {
  private readonly began = performance.now();
  private first: { at: number; characters: number; tokens: number } | null = null;
  private last = 0;

  note(text: string, tokens: number): void {
    this.last = performance.now();
    this.first ??= { at: this.last, characters: text.length, tokens };
  }

  figures({ answer, tokens }: Turn, ended: Figures["ended"], counted: number | null): Figures {
    const newTokens = counted ?? (tokens.length > 0 ? tokens.length : null);
    return {
      ended,
      newTokens,
      tokensPerSecond: newTokens === null ? null : this.rate(newTokens, answer.length),
      firstTokenSeconds: this.first === null ? null : (this.first.at - this.began) / 1000,
    };
  }

  /** What came after the first piece, by the time since; the first's own tokens are those it names, or its share. */
  private rate(newTokens: number, characters: number): number | null {
    if (this.first === null || this.last <= this.first.at || characters === 0) return null;
    const inFirst = this.first.tokens || newTokens * (this.first.characters / characters);
    return (newTokens - inFirst) / ((this.last - this.first.at) / 1000);
  }
}
