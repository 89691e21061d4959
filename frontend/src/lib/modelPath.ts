/** The views of a model's page, in their order. */
export const MODEL_TABS = [
  ["overview", "Overview"],
  ["card", "Card"],
  ["architecture", "Architecture"],
  ["files", "Files"],
  ["try", "Try it"],
  ["training", "Training"],
  ["history", "History"],
] as const;

export type ModelTab = (typeof MODEL_TABS)[number][0];

/** The address of a model's page; `search` is the list's, so that the way back leads to the same list. */
export function modelPath(id: string, tab: ModelTab = "overview", search: string | URLSearchParams = ""): string {
  const parameters = new URLSearchParams(search);
  parameters.delete("file");
  if (tab === "overview") parameters.delete("tab");
  else parameters.set("tab", tab);
  return `/models/${id}${withMark(parameters)}`;
}

/** The address of one of its text files. */
export function filePath(id: string, file: string, search: string | URLSearchParams = ""): string {
  return `${modelPath(id, "files", search)}&${new URLSearchParams({ file }).toString()}`;
}

export function tabIn(parameters: URLSearchParams): ModelTab {
  return MODEL_TABS.find(([tab]) => tab === parameters.get("tab"))?.[0] ?? "overview";
}

/** The list that a model's page was opened from. */
export function listPath(parameters: URLSearchParams): string {
  const list = new URLSearchParams(parameters);
  list.delete("tab");
  list.delete("file");
  return `/models${withMark(list)}`;
}

function withMark(parameters: URLSearchParams): string {
  return parameters.size === 0 ? "" : `?${parameters.toString()}`;
}
