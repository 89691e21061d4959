import { BASE } from "../../lib/base";
import { variantName } from "../../lib/groups";
import { modelPath } from "../../lib/modelPath";
import { SETTINGS_SECTIONS } from "../../lib/settingsSections";
import type { Model } from "../../types/model";

export interface Command {
  id: string;
  label: string;
  /** What kind of thing it leads to. */
  kind: "Page" | "Setting" | "Action" | "Model";
  run: () => void;
}

export interface Doing {
  go: (path: string) => void;
  load: (id: string) => void;
  toggleColours: () => void;
  listKeys: () => void;
}

const PAGES = [
  ["/models", "Models"],
  ["/models?view=hub", "Search the Hub"],
  ["/compare", "Compare"],
  ["/training", "Training"],
  ["/settings", "Settings"],
] as const;

const STARTS = [
  ["/models?download", "Download a model"],
  ["/models?add", "Add local models"],
  ["/training/new", "New training run"],
] as const;

/** Everything that can be gone to or done, pages first. */
export function commandsOf(models: Model[], { canLoad, needsKey }: { canLoad: boolean; needsKey: boolean }, to: Doing) {
  const at = (kind: Command["kind"], path: string, label: string): Command => ({
    id: `${kind} ${path}`,
    label,
    kind,
    run: () => to.go(path),
  });
  const settings = Object.entries(SETTINGS_SECTIONS).filter(([id]) => needsKey || id !== "session");
  const loadable = canLoad ? models.filter(({ status, loaded }) => status === "ready" && !loaded) : [];
  const usable = models.filter(({ loaded, generates_text }) => loaded && generates_text !== false);
  return [
    ...PAGES.map(([path, label]) => at("Page", path, label)),
    ...models.map((model) => at("Model", modelPath(model.id), variantName(model))),
    ...STARTS.map(([path, label]) => at("Action", path, label)),
    ...usable.map((model) => at("Action", modelPath(model.id, "try"), `Try ${variantName(model)}`)),
    ...loadable.map((model): Command => ({
      id: `load ${model.id}`,
      label: `Load ${variantName(model)}`,
      kind: "Action",
      run: () => to.load(model.id),
    })),
    { id: "colours", label: "Switch between light and dark colours", kind: "Action", run: to.toggleColours },
    { id: "keys", label: "Show the keyboard shortcuts", kind: "Action", run: to.listKeys },
    {
      id: "docs",
      label: "API documentation",
      kind: "Page",
      run: () => window.location.assign(new URL("docs", BASE)),
    },
    ...settings.map(([id, label]) => at("Setting", `/settings#${id}`, label)),
  ] satisfies Command[];
}

/** Those that have every word of the search, with those that begin with it first. */
export function matching(commands: Command[], search: string, limit: number): Command[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const begins = (command: Command) => (command.label.toLowerCase().startsWith(words[0] ?? "") ? 0 : 1);
  return commands
    .filter(({ label, kind }) => words.every((word) => `${kind} ${label}`.toLowerCase().includes(word)))
    .sort((a, b) => begins(a) - begins(b))
    .slice(0, limit);
}
