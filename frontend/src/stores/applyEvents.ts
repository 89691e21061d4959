/** How an event changes the store's data. Pure: no sockets, no timers, no requests. */
import type { Cursor, Feed, Live, Pending } from "../types/feed";
import type { Labels, Model } from "../types/model";

/**
 * Whether a stamped event follows what is known (`next`), was seen (`old`), or something is missing (`gap`). A batch
 * covers everything from `from_seq` on.
 */
export function follows(cursor: Cursor, event: Cursor & { from_seq?: number }): "next" | "old" | "gap" {
  if (event.epoch !== cursor.epoch) return "gap";
  if (event.seq <= cursor.seq) return "old";
  return (event.from_seq ?? event.seq) <= cursor.seq + 1 ? "next" : "gap";
}

const HOT_FIELDS = new Set<keyof Model>(["progress", "downloaded_bytes", "disk_bytes", "updated_at"]);

/** True when anything but progress differs: such an event must reach `byId`. */
export function isStructural(known: Model | undefined, incoming: Model): boolean {
  if (known === undefined) return true;
  if ((known.progress === null) !== (incoming.progress === null)) return true;
  return (Object.keys(incoming) as (keyof Model)[]).some((field) => {
    if (HOT_FIELDS.has(field) || known[field] === incoming[field]) return false;
    return typeof incoming[field] !== "object" || JSON.stringify(known[field]) !== JSON.stringify(incoming[field]);
  });
}

/** The list as it was read; a row that moved from one page to the next meanwhile stands in it twice. */
export function applyList(feed: Feed, models: Model[]): Feed {
  const byId = Object.fromEntries(models.map((model) => [model.id, model]));
  const live = Object.fromEntries(models.filter(isMoving).map((model) => [model.id, liveOf(model, feed)]));
  const ids = [...new Set(models.map((model) => model.id))];
  return { byId, ids, live, pending: keepPending(feed.pending, byId) };
}

/** A row as it is now: replaces the cold record. */
export function applyModel(feed: Feed, model: Model): Feed {
  const known = feed.byId[model.id];
  const byId = { ...feed.byId, [model.id]: model };
  const live = isMoving(model) ? { ...feed.live, [model.id]: liveOf(model, feed) } : without(feed.live, model.id);
  return {
    byId,
    ids: known === undefined ? [model.id, ...feed.ids] : feed.ids,
    live,
    pending: keepPending(feed.pending, byId),
  };
}

/** What is noted about a repository, on each of its rows. */
export function applyLabels(feed: Feed, modelId: string, change: Partial<Labels>): Pick<Feed, "byId"> {
  const rows = Object.values(feed.byId).filter((row) => row.model_id === modelId);
  return { byId: { ...feed.byId, ...Object.fromEntries(rows.map((row) => [row.id, { ...row, ...change }])) } };
}

/** Takes a change of labels back where it still stands: what an event told meanwhile is newer. */
export function revertLabels(feed: Feed, change: Partial<Labels>, before: Model[]): Pick<Feed, "byId"> {
  const fields = Object.keys(change) as (keyof Labels)[];
  const reverted = before.flatMap((known) => {
    const row = feed.byId[known.id];
    if (row === undefined) return [];
    const mine = fields.filter((field) => row[field] === change[field]);
    return [[row.id, { ...row, ...Object.fromEntries(mine.map((field) => [field, known[field]])) }] as const];
  });
  return { byId: { ...feed.byId, ...Object.fromEntries(reverted) } };
}

/** Progress of several rows at once; touches nothing but `live`, save for rows in which nothing moves any more. */
export function applyProgress(feed: Feed, models: Model[]): Feed {
  const live = { ...feed.live };
  for (const model of models) {
    if (isMoving(model)) live[model.id] = liveOf(model, feed);
    else Reflect.deleteProperty(live, model.id);
  }
  const still = models.filter((model) => !isMoving(model));
  if (still.length === 0) return { ...feed, live };
  const byId = { ...feed.byId, ...Object.fromEntries(still.map((model) => [model.id, model])) };
  return { ...feed, byId, live, pending: keepPending(feed.pending, byId) };
}

export function removeModel(feed: Feed, id: string): Feed {
  if (feed.byId[id] === undefined) return feed;
  return {
    byId: without(feed.byId, id),
    ids: feed.ids.filter((other) => other !== id),
    live: without(feed.live, id),
    pending: without(feed.pending, id),
  };
}

/** A failed row still tells how far it came, but nothing moves. */
function isMoving(model: Model): boolean {
  return model.progress !== null && model.status !== "failed";
}

function liveOf({ id, progress, downloaded_bytes, disk_bytes, updated_at }: Model, { live }: Feed): Live {
  const known = live[id];
  // The same told again, by the list that is read anew, is no news.
  const heardAt = known?.updated_at === updated_at ? known.heardAt : Date.now();
  return { progress, downloaded_bytes, disk_bytes, updated_at, heardAt };
}

/**
 * An optimistic action is over once the row's status moved, whatever it moved to. Loading and unloading leave the
 * status as it is: they are over when the row is loaded or not, or tells why it could not be; a load also as soon as
 * the row tells how far it is, and stopping one with the server's answer, which tells that it is being stopped.
 */
export function isUnderWay({ op, prev }: Pending, model: Model | undefined): boolean {
  if (model?.status !== prev) return false;
  if (op === "load") return !model.loaded && model.error === null && model.progress === null;
  if (op === "cancel" && prev === "ready") return false;
  if (op === "unload") return model.loaded && model.error === null;
  return true;
}

function keepPending(pending: Record<string, Pending>, byId: Record<string, Model>): Record<string, Pending> {
  const entries = Object.entries(pending);
  const kept = entries.filter(([id, action]) => isUnderWay(action, byId[id]));
  return kept.length === entries.length ? pending : Object.fromEntries(kept);
}

export function without<T>(record: Record<string, T>, id: string): Record<string, T> {
  if (!(id in record)) return record;
  const rest = { ...record };
  Reflect.deleteProperty(rest, id);
  return rest;
}
