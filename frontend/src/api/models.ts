import type {
  Architecture,
  CacheListing,
  DeletionPlan,
  DeletionPlanRequest,
  DeletionReport,
  Drift,
  Dtype,
  EstimateQuery,
  HistoryPage,
  ImportRequest,
  InstalledFile,
  Labels,
  LoadedModel,
  MemoryEstimate,
  Model,
  ModelCard,
  ModelDownloadRequest,
  ModelInfo,
  ModelPage,
  Quantization,
  QuantizeRequest,
  SearchPage,
  SearchSort,
  TextFile,
  UpdatePlan,
} from "../types/model";
import { request } from "./client";

/** The first page is small, so that there is something to show soon. */
const FIRST_PAGE = 100;
const PAGE = 500;

/** Requests under way at once: while the page reads one answer, the server writes the next. */
const READERS = 2;

function readPage(offset: number, limit: number): Promise<ModelPage> {
  return request<ModelPage>("GET", "/models", { query: { limit, offset } });
}

/** Every managed model, page by page; `onPart` is told the first ones while more are on their way. */
export async function listModels(onPart?: (models: Model[]) => void): Promise<Model[]> {
  const first = await readPage(0, FIRST_PAGE);
  if (first.items.length >= first.total) return first.items;
  onPart?.(first.items);
  const parts: Model[][] = [first.items];
  let { total } = first;
  let next = 0;
  async function readOn(): Promise<void> {
    while (FIRST_PAGE + next * PAGE < total) {
      const index = next++;
      const page = await readPage(FIRST_PAGE + index * PAGE, PAGE);
      parts[index + 1] = page.items;
      total = page.total;
    }
  }
  await Promise.all(Array.from({ length: READERS }, readOn));
  return parts.flat();
}

export function getModel(id: string, signal?: AbortSignal): Promise<Model> {
  return request("GET", `/models/${id}`, { signal });
}

/** Changes what is noted about the repository of a model, and so of each of its models. */
export function changeLabels(id: string, change: Partial<Labels>): Promise<Model> {
  return request("PATCH", `/models/${id}`, { body: change });
}

export function downloadModel(body: ModelDownloadRequest): Promise<Model> {
  return request("POST", "/models/download", { body });
}

export type ModelAction = "pause" | "resume" | "cancel" | "verify" | "load" | "unload";

/** `dtype` is for loads: what is not quantized; left out, as the settings say. */
export function actOnModel(id: string, action: ModelAction, dtype?: Dtype): Promise<Model> {
  return request("POST", `/models/${id}/${action}`, action === "load" ? { body: { dtype } } : {});
}

/** A quantized copy, made once: a row of its own on the same snapshot. */
export function quantizeModel(id: string, body: QuantizeRequest): Promise<Model> {
  return request("POST", `/models/${id}/quantize`, { body });
}

/** An adapter merged into its base: a model of its own. */
export function mergeAdapter(id: string): Promise<Model> {
  return request("POST", `/models/${id}/merge`, {});
}

/** What is to be removed of a model: all of it, with the original of its quantized copies, or that original alone. */
export type Removal = "model" | "with-original" | "original";

export function planRemoval(id: string, what: Removal, signal?: AbortSignal): Promise<DeletionReport> {
  return remove(id, what, { dry_run: true }, signal);
}

export function removeModel(id: string, what: Removal, confirmShared: boolean): Promise<DeletionReport> {
  return remove(id, what, { confirm_shared: confirmShared || undefined });
}

function remove(
  id: string,
  what: Removal,
  query: { dry_run?: boolean; confirm_shared?: boolean | undefined },
  signal?: AbortSignal,
): Promise<DeletionReport> {
  const keepalive = query.dry_run !== true;
  if (what === "original") return request("POST", `/models/${id}/drop-original`, { query, signal, keepalive });
  return request("DELETE", `/models/${id}`, {
    keepalive,
    query: { ...query, with_original: what === "with-original" || undefined },
    signal,
  });
}

/** What deleting these one after the other, in this order, frees together. */
export function planDeletions(body: DeletionPlanRequest, signal?: AbortSignal): Promise<DeletionPlan> {
  return request("POST", "/models/deletion-plan", { body, signal });
}

export interface HubSearch {
  q: string;
  limit: number;
  sort?: SearchSort;
  task?: string | null;
  licence?: string | null;
  architecture?: string | null;
  min_parameters?: number | null;
  max_parameters?: number | null;
  fits?: boolean | null;
  /** What fits is asked of; as stored where it is left out. */
  precision?: Quantization | null;
  /** The page after the one that ended with it. */
  cursor?: string | null;
}

export function searchHub(query: HubSearch, signal?: AbortSignal): Promise<SearchPage> {
  return request("GET", "/models/search", { query: { ...query }, signal });
}

/** The model card of a repository that need not be here. */
export function getHubCard(model_id: string, revision: string | null, signal?: AbortSignal): Promise<ModelCard> {
  return request("GET", "/models/card", { query: { model_id, revision }, signal });
}

/** Asks the model's Hub now whether its branch has moved on. */
export function checkUpdate(id: string): Promise<Model> {
  return request("POST", `/models/${id}/check-update`);
}

/** Another version of a model: the newest one, or an earlier one (the one before, or of a commit). */
export type VersionChange = { to: "newest" } | { to: "earlier"; commit: string | null };

/** What it changes and what has to be fetched. */
export function planVersion(id: string, change: VersionChange, signal?: AbortSignal): Promise<UpdatePlan> {
  if (change.to === "newest") return request("GET", `/models/${id}/update-plan`, { signal });
  return request("GET", `/models/${id}/rollback-plan`, { query: { commit: change.commit }, signal });
}

/** Uses it once it is here; the answer is its row. */
export function changeVersion(id: string, change: VersionChange): Promise<Model> {
  if (change.to === "newest") return request("POST", `/models/${id}/update`, {});
  return request("POST", `/models/${id}/rollback`, { body: { commit: change.commit } });
}

/** What was done to a model, the newest first. */
export function listHistory(id: string, limit: number, offset: number, signal?: AbortSignal): Promise<HistoryPage> {
  return request("GET", `/models/${id}/history`, { query: { limit, offset }, signal });
}

/** What the Hub tells about a model, before anything is fetched. */
export function getModelInfo(modelId: string, revision: string | null, signal?: AbortSignal): Promise<ModelInfo> {
  return request("GET", `/models/info/${modelId.split("/").map(encodeURIComponent).join("/")}`, {
    query: { revision },
    signal,
  });
}

/** May take up to 20 s: the server waits for the exact figure. */
export function estimateMemory(query: EstimateQuery, signal?: AbortSignal): Promise<MemoryEstimate> {
  return request("GET", "/models/estimate-memory", { query: { ...query }, signal });
}

/** The same of a model that is here; needs no Hub. */
export function estimateLocalMemory(
  id: string,
  query: Pick<EstimateQuery, "context" | "batch" | "dtype"> & Partial<Pick<EstimateQuery, "parts">>,
  signal?: AbortSignal,
): Promise<MemoryEstimate> {
  return request("GET", `/models/${id}/estimate-memory`, { query: { ...query }, signal });
}

/** Blocks, hook points and module tree of a model on the Hub; built there without its weights, which takes seconds. */
export function getHubArchitecture(modelId: string, revision: string, signal?: AbortSignal): Promise<Architecture> {
  return request("GET", "/models/architecture", { query: { model_id: modelId, revision }, signal });
}

/** The same of a model that is here; needs no Hub. */
export function getArchitecture(id: string, signal?: AbortSignal): Promise<Architecture> {
  return request("GET", `/models/${id}/architecture`, { signal });
}

/** Compares a quantized copy with its original on a text; both may have to be loaded first. */
export function measureDrift(id: string, text: string, signal?: AbortSignal): Promise<Drift> {
  return request("POST", `/models/${id}/drift`, { body: { text }, signal });
}

/** The manifest of a model that is here, and which of its files are on the disk; needs no Hub. */
export function listFiles(id: string, signal?: AbortSignal): Promise<{ items: InstalledFile[] }> {
  return request("GET", `/models/${id}/files`, { signal });
}

/** The model card of a model that is here, as HTML that the server has made safe; needs no Hub. */
export function getCard(id: string, signal?: AbortSignal): Promise<ModelCard> {
  return request("GET", `/models/${id}/card`, { signal });
}

/** A text file of a model that is here; of a large one, its beginning. */
export function getTextFile(id: string, path: string, signal?: AbortSignal): Promise<TextFile> {
  return request("GET", `/models/${id}/text`, { query: { path }, signal });
}

/** What the Hugging Face cache holds that is not managed, and what unfinished downloads left there. */
export function listCache(signal?: AbortSignal): Promise<CacheListing> {
  return request("GET", "/models/cache", { signal });
}

/** Takes over a model of the cache without a copy; every byte is hashed first. */
export function adoptModel(modelId: string): Promise<Model> {
  return request("POST", "/models/import", { body: { cached: modelId } });
}

/** Takes over a folder on the server's machine, by hard link or as a copy. */
export function importFolder(body: ImportRequest): Promise<Model> {
  return request("POST", "/models/import", { body });
}

export function dropLeftovers(): Promise<{ freed_bytes: number }> {
  return request("DELETE", "/models/cache/leftovers");
}

export function listLoaded(signal?: AbortSignal): Promise<{ items: LoadedModel[] }> {
  return request("GET", "/models/loaded", { signal });
}
