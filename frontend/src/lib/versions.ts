import type { Model, UpdatePlan } from "../types/model";

const CHANGE_LABEL: Record<UpdatePlan["changed"][number], string> = {
  weights: "weights",
  tokenizer: "tokenizer",
  template: "chat template",
  config: "configuration",
  readme: "README",
  other: "other files",
};

/** What differs between two versions, as one sentence. */
export function changesLabel({ changed }: UpdatePlan): string {
  const names = changed.map((change) => CHANGE_LABEL[change]);
  const last = names.pop();
  if (last === undefined) return "Only files changed that are not downloaded";
  const list = names.length === 0 ? last : `${names.join(", ")} and ${last}`;
  return `Changed: ${list}`;
}

/** Whether an update is offered. What is not in use is not updated. */
export function isOutdated({ update_available, replaced_by }: Model): boolean {
  return update_available === true && replaced_by === null;
}

/** Whether it came by a name that can move. */
export function followsBranch({ endpoint, commit, revision, gguf_file }: Model): boolean {
  // The commit of a conversion is no commit of the Hub, so its revision is never the beginning of it.
  return endpoint.startsWith("http") && (gguf_file !== null || !commit.startsWith(revision));
}
