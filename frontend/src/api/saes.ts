import type {
  DeletionReport,
  FeatureSort,
  Sae,
  SaeDownload,
  SaeEvaluate,
  SaeFeature,
  SaeFeaturePage,
  SaeFeaturesBuild,
  SaePage,
  SaeTextFeatures,
} from "../types/sae";
import { BASE } from "../lib/base";
import { request } from "./client";

const PAGE = 200;

/** Every SAE, or those of one model; asks for as many pages as there are. */
export async function listSaes(modelId: string | null, signal?: AbortSignal): Promise<Sae[]> {
  const saes: Sae[] = [];
  for (;;) {
    const query = { limit: PAGE, offset: saes.length, ...(modelId === null ? {} : { model_id: modelId }) };
    const page = await request<SaePage>("GET", "/saes", { query, signal });
    saes.push(...page.items);
    if (page.items.length === 0 || saes.length >= page.total) return saes;
  }
}

export function getSae(id: string, signal?: AbortSignal): Promise<Sae> {
  return request("GET", `/saes/${id}`, { signal });
}

export function importSae(path: string): Promise<Sae> {
  return request("POST", "/saes/import", { body: { path } });
}

export function downloadSae(body: SaeDownload): Promise<Sae> {
  return request("POST", "/saes/download", { body });
}

export function evaluateSae(id: string, body: SaeEvaluate): Promise<Sae> {
  return request("POST", `/saes/${id}/evaluate`, { body });
}

export function buildFeatures(id: string, body: SaeFeaturesBuild): Promise<Sae> {
  return request("POST", `/saes/${id}/features/build`, { body });
}

export function listFeatures(
  id: string,
  query: { sort: FeatureSort; limit: number; offset: number },
  signal?: AbortSignal,
): Promise<SaeFeaturePage> {
  return request("GET", `/saes/${id}/features`, { query, signal });
}

export function getFeature(id: string, index: number, signal?: AbortSignal): Promise<SaeFeature> {
  return request("GET", `/saes/${id}/features/${index}`, { signal });
}

/** The model reads a text, and is loaded first where it is not. */
export function featuresForText(id: string, text: string, signal?: AbortSignal): Promise<SaeTextFeatures> {
  return request("POST", `/saes/${id}/features/for-text`, { body: { text, top: 50, model_id: null }, signal });
}

export function cancelSaeWork(id: string): Promise<Sae> {
  return request("POST", `/saes/${id}/cancel`);
}

/** What a deletion frees. */
export function planSaeDeletion(id: string, signal?: AbortSignal): Promise<DeletionReport> {
  return request("DELETE", `/saes/${id}`, { query: { dry_run: true }, signal });
}

export function deleteSae(id: string): Promise<DeletionReport> {
  return request("DELETE", `/saes/${id}`);
}

/** Where the folder is sent as a tar archive. */
export function exportAddress(id: string): string {
  return new URL(`api/v1/saes/${id}/export`, BASE).href;
}
