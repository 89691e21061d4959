import AxeBuilder from "@axe-core/playwright";
import { type APIRequestContext, expect, type Page } from "@playwright/test";

export const SAMPLE = "modelyard-samples/tiny-qwen-moe";
export const SMALL_SAMPLE = "modelyard-samples/tiny-gpt2";

/** Settings as a script changes them, where a spec is not about changing them. */
export async function putSettings(request: APIRequestContext, change: Record<string, unknown>): Promise<void> {
  const response = await request.put("/api/v1/settings", { data: change });
  expect(response.ok()).toBe(true);
}

interface Row {
  id: string;
  model_id: string;
  status: string;
  quantization: string;
}

export async function rows(request: APIRequestContext): Promise<Row[]> {
  const response = await request.get("/api/v1/models?limit=200");
  return ((await response.json()) as { items: Row[] }).items;
}

/** The id of a ready sample, downloaded now if it is not there. */
export async function readySample(request: APIRequestContext, modelId: string): Promise<string> {
  await putSettings(request, { endpoint: "builtin", bandwidth_limit_bytes_per_second: null });
  const find = async () => (await rows(request)).find((row) => row.model_id === modelId);
  if ((await find())?.status !== "ready")
    await request.post("/api/v1/models/download", { data: { model_id: modelId } });
  await expect.poll(async () => (await find())?.status, { timeout: 60_000 }).toBe("ready");
  return (await find())?.id ?? "";
}

/** `popup`: a menu or list of suggestions is open; it stands outside the landmarks, as such things do. */
export async function expectAccessible(page: Page, { popup = false } = {}): Promise<void> {
  // Colours that are still fading in are not what is seen.
  await page.waitForTimeout(300);
  const { violations } = await new AxeBuilder({ page }).disableRules(popup ? ["region"] : []).analyze();
  expect(
    violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`),
  ).toEqual([]);
}
