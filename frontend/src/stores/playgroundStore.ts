import { create } from "zustand";
import { isAbort } from "../lib/apiError";
import { generate } from "../api/generate";
import { type ProblemView, toProblem } from "../lib/problems";
import type { ChatMessage, Generated } from "../types/model";

export type Mode = "text" | "chat";

/** A text that was continued, or a question and its answer. */
export interface Turn {
  asked: string;
  answer: string;
}

export interface Options {
  /** Empty while a field is being written anew. */
  maxNewTokens: number | "";
  temperature: number | "";
  seed: number | "";
}

/** What is being tried with one model; it outlives the tab, so that nothing is lost by looking elsewhere. */
export interface Trial {
  mode: Mode;
  draft: string;
  options: Options;
  /** Chat: what was said so far. Text: the one continuation that is shown. */
  turns: Turn[];
  running: boolean;
  figures: Generated | null;
  stopped: boolean;
  problem: ProblemView | null;
}

const NEW: Trial = {
  mode: "text",
  draft: "",
  options: { maxNewTokens: 64, temperature: 0, seed: 0 },
  turns: [],
  running: false,
  figures: null,
  stopped: false,
  problem: null,
};

interface TryState {
  trials: Record<string, Trial>;
  change: (id: string, changes: Partial<Omit<Trial, "options">>) => void;
  setOptions: (id: string, changes: Partial<Options>) => void;
  send: (id: string) => Promise<void>;
  stop: (id: string) => void;
}

export function trialOf(state: TryState, id: string): Trial {
  return state.trials[id] ?? NEW;
}

export function canSend({ draft, options, running }: Trial): boolean {
  return !running && draft.trim() !== "" && Object.values(options).every((value) => value !== "");
}

export const usePlaygroundStore = create<TryState>()((set, get) => {
  const controllers = new Map<string, AbortController>();

  function change(id: string, changes: Partial<Trial>): void {
    set((state) => ({ trials: { ...state.trials, [id]: { ...trialOf(state, id), ...changes } } }));
  }

  function append(id: string, delta: string): void {
    const turns = [...trialOf(get(), id).turns];
    const last = turns.pop();
    if (last !== undefined) change(id, { turns: [...turns, { ...last, answer: last.answer + delta }] });
  }

  /** Puts what was asked back into the field where nothing was answered. */
  function takeBack(id: string, before: Trial): void {
    const trial = trialOf(get(), id);
    if (trial.turns.at(-1)?.answer !== "") return;
    change(id, { turns: before.turns, draft: trial.draft === "" ? before.draft : trial.draft });
  }

  return {
    trials: {},
    change,
    setOptions: (id, changes) => change(id, { options: { ...trialOf(get(), id).options, ...changes } }),

    send: async (id) => {
      const before = trialOf(get(), id);
      if (!canSend(before)) return;
      const { mode, draft, options } = before;
      const controller = new AbortController();
      controllers.set(id, controller);
      change(id, {
        draft: mode === "chat" ? "" : draft,
        turns: [...(mode === "chat" ? before.turns : []), { asked: draft, answer: "" }],
        running: true,
        figures: null,
        stopped: false,
        problem: null,
      });
      try {
        const steps = generate(
          id,
          {
            ...(mode === "chat" ? { messages: messagesOf(before.turns, draft) } : { prompt: draft }),
            max_new_tokens: Number(options.maxNewTokens),
            temperature: Number(options.temperature),
            seed: Number(options.seed),
          },
          controller.signal,
        );
        for (;;) {
          const step = await steps.next();
          if (step.done) {
            change(id, { figures: step.value });
            return;
          }
          append(id, step.value);
        }
      } catch (error) {
        takeBack(id, before);
        if (isAbort(error)) change(id, { stopped: true });
        else change(id, { problem: toProblem(error) });
      } finally {
        controllers.delete(id);
        change(id, { running: false });
      }
    },

    stop: (id) => controllers.get(id)?.abort(),
  };
});

function messagesOf(turns: Turn[], question: string): ChatMessage[] {
  return [
    ...turns.flatMap(({ asked, answer }): ChatMessage[] => [
      { role: "user", content: asked },
      { role: "assistant", content: answer },
    ]),
    { role: "user", content: question },
  ];
}
