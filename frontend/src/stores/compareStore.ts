import { create } from "zustand";
import { compare } from "../api/compare";
import { isAbort } from "../lib/apiError";
import { type ProblemView, toProblem } from "../lib/problems";
import type { CompareStep, Comparison, Side } from "../types/compare";

export interface CompareDraft {
  prompt: string;
  chat: boolean;
  /** Empty while the field is being written anew. */
  maxNewTokens: number | "";
}

interface CompareState extends CompareDraft {
  running: boolean;
  step: CompareStep | null;
  result: Comparison | null;
  problem: ProblemView | null;
  stopped: boolean;
  change: (changes: Partial<CompareDraft>) => void;
  run: (models: Record<Side, string>) => Promise<void>;
  stop: () => void;
}

export function canCompare({ prompt, maxNewTokens }: CompareDraft): boolean {
  return prompt.trim() !== "" && maxNewTokens !== "";
}

/** One comparison at a time; it outlives the page, so that nothing is lost by looking elsewhere. */
export const useCompareStore = create<CompareState>()((set, get) => {
  let controller: AbortController | null = null;
  return {
    prompt: "",
    chat: false,
    maxNewTokens: 64,
    running: false,
    step: null,
    result: null,
    problem: null,
    stopped: false,
    change: (changes) => set(changes),
    run: async (models) => {
      const { prompt, chat, maxNewTokens, running } = get();
      if (running || !canCompare(get())) return;
      const { signal } = (controller = new AbortController());
      set({ running: true, step: null, result: null, problem: null, stopped: false });
      try {
        const asked = chat ? { messages: [{ role: "user" as const, content: prompt }] } : { prompt };
        const steps = compare({ ...models, ...asked, max_new_tokens: Number(maxNewTokens) }, signal);
        for (;;) {
          const next = await steps.next();
          if (next.done) {
            set({ result: next.value });
            return;
          }
          set({ step: next.value });
        }
      } catch (error) {
        set(isAbort(error) ? { stopped: true } : { problem: toProblem(error) });
      } finally {
        set({ running: false, step: null });
      }
    },
    stop: () => controller?.abort(),
  };
});
