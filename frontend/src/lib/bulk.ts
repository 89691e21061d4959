import { type ProblemView, toProblem } from "./problems";

export interface Failure<T> {
  item: T;
  problem: ProblemView;
}

export interface Outcome<T> {
  done: T[];
  failures: Failure<T>[];
}

/** Does something to each, one after the other; a refusal stops none of the others and is told at the end. */
export async function forEach<T>(items: T[], action: (item: T) => Promise<unknown>): Promise<Outcome<T>> {
  const outcome: Outcome<T> = { done: [], failures: [] };
  for (const item of items) {
    try {
      await action(item);
      outcome.done.push(item);
    } catch (error) {
      outcome.failures.push({ item, problem: toProblem(error) });
    }
  }
  return outcome;
}
