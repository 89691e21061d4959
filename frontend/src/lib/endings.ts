/** What came to an end between two states of the feed, and what can be done next. */
import type { Feed } from "../types/feed";
import type { Model } from "../types/model";
import type { Training } from "../types/training";
import { variantName } from "./groups";
import { isActive } from "./labels";
import { modelPath } from "./modelPath";
import { isRunning, runName } from "./training";

export interface Ending {
  /** The row's id: a later ending of the same row takes its place. */
  id: string;
  title: string;
  message: string;
  failed: boolean;
  /** The address of the next step, or the model to load. */
  next: { label: "Open" | "Try it"; path: string } | { label: "Load"; load: string; path: string };
}

type Known = Pick<Feed, "byId" | "live">;

/** `asked` are the models whose load was asked for on this page: others load by themselves when they are used. */
export function modelEndings(
  before: Known,
  after: Pick<Feed, "byId">,
  asked: ReadonlySet<string>,
  canLoad: boolean,
): Ending[] {
  return Object.values(after.byId).flatMap((model) => {
    const known = before.byId[model.id];
    return known === undefined || known === model
      ? []
      : (workEnding(known, before.live[model.id]?.progress?.work, model, canLoad) ??
          (asked.has(model.id) ? loadEnding(known, model) : null) ??
          []);
  });
}

function workEnding(known: Model, work: string | undefined, model: Model, canLoad: boolean): Ending | null {
  if (!isActive(known.status)) return null;
  const path = modelPath(model.id);
  const name = variantName(model);
  if (model.status === "failed") return failure(model, `${name} failed`);
  if (model.status !== "ready") return null;
  const done = { id: model.id, message: "", failed: false };
  if (work === "verify") return { ...done, title: `${name} is verified`, next: { label: "Open", path } };
  return {
    ...done,
    title: `${name} is ready`,
    next: canLoad && !model.loaded ? { label: "Load", load: model.id, path } : { label: "Open", path },
  };
}

function loadEnding(known: Model, model: Model): Ending | null {
  const name = variantName(model);
  if (!known.loaded && model.loaded)
    return {
      id: model.id,
      title: `${name} is loaded`,
      message: "",
      failed: false,
      next:
        model.generates_text === false
          ? { label: "Open", path: modelPath(model.id) }
          : { label: "Try it", path: modelPath(model.id, "try") },
    };
  if (!model.loaded && known.error === null && model.error !== null) return failure(model, `${name} was not loaded`);
  return null;
}

function failure(model: Model, title: string): Ending {
  return {
    id: model.id,
    title,
    message: model.error?.message ?? "",
    failed: true,
    next: { label: "Open", path: modelPath(model.id) },
  };
}

export function trainingEndings(before: Record<string, Training>, after: Record<string, Training>): Ending[] {
  return Object.values(after).flatMap((run): Ending[] => {
    const known = before[run.id];
    if (known === undefined || known === run || !isRunning(known.status)) return [];
    if (run.status !== "completed" && run.status !== "failed") return [];
    const failed = run.status === "failed";
    return [
      {
        id: run.id,
        title: `${runName(run)} ${failed ? "failed" : "is trained"}`,
        message: failed ? (run.error?.message ?? "") : "",
        failed,
        next: { label: "Open", path: `/training/${run.id}` },
      },
    ];
  });
}
