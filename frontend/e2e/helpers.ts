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
  const find = async () => (await rows(request)).find((row) => row.model_id === modelId && row.quantization === "none");
  if ((await find())?.status !== "ready")
    await request.post("/api/v1/models/download", { data: { model_id: modelId } });
  await expect.poll(async () => (await find())?.status, { timeout: 60_000 }).toBe("ready");
  return (await find())?.id ?? "";
}

/** Every page by its address: those of the menu, and those that are reached from elsewhere. */
export async function routes(page: Page): Promise<string[]> {
  await page.goto("/models");
  const links = page.getByRole("navigation", { name: "Main" }).getByRole("link");
  const menu = await links.evaluateAll((found) => found.map((link) => link.getAttribute("href") ?? ""));
  expect(menu).toEqual(expect.arrayContaining(["/models", "/training", "/settings"]));
  return [...menu, "/models/unknown", "/training/new", "/training/unknown", "/nowhere", "/docs"];
}

/** Opens an address and waits until nothing of it is still to come. */
export async function open(page: Page, path: string): Promise<void> {
  await page.goto(path);
  await settled(page);
}

/** Nothing stands in for what is still to come. */
export async function settled(page: Page): Promise<void> {
  await expect(page.getByRole("heading").first()).toBeVisible();
  await expect(page.locator(".mantine-Skeleton-root, .swagger-ui .loading")).toHaveCount(0, { timeout: 60_000 });
}

/** Opens each tab of the dialogue, or else of the page, in turn; looks once where there are none. */
export async function eachTab(page: Page, look: (name: string) => Promise<void>): Promise<void> {
  const dialog = page.getByRole("dialog");
  const tabs = await ((await dialog.count()) > 0 ? dialog : page).getByRole("tab").all();
  if (tabs.length === 0) await look("");
  for (const tab of tabs) {
    await tab.click();
    await expect(tab).toHaveAttribute("aria-selected", "true");
    await settled(page);
    await look((await tab.textContent()) ?? "");
  }
}

interface Expected {
  /** A menu or list of suggestions is open; it stands outside the landmarks, as such things do. */
  popup?: boolean;
}

/** Nothing that axe finds, in both colour schemes. */
export async function expectAccessible(page: Page, { popup = false }: Expected = {}): Promise<void> {
  for (const colorScheme of ["dark", "light"] as const) {
    await page.emulateMedia({ colorScheme });
    // Colours that are still fading in are not what is seen.
    await page.evaluate(stillness);
    // There are no frames, so it need not open a page of its own to put their results together.
    const axe = new AxeBuilder({ page }).setLegacyMode();
    // The scheme changes colours alone.
    if (colorScheme === "dark") axe.withRules(["color-contrast", "link-in-text-block"]);
    else if (popup) axe.disableRules("region");
    const { violations } = await axe.analyze();
    expect(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`),
      `${page.url()}, ${colorScheme}`,
    ).toEqual([]);
  }
}

/** Runs in the page: resolves when no transition is under way and none has begun. */
async function stillness(): Promise<void> {
  const finite = () =>
    document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Number.POSITIVE_INFINITY);
  do {
    await Promise.allSettled(finite().map((one) => one.finished));
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  } while (finite().length > 0);
}

/** Pixels by which the page is wider than its window. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** Asks whoever runs this spec for something that happens outside the page; rejects with what went wrong there. */
export async function tell(step: string): Promise<void> {
  const control = process.env.CONTROL;
  if (control === undefined) throw new Error(`Nobody is there to ${step}: see backend/tests/support/browser.py`);
  const response = await fetch(`${control}/${encodeURIComponent(step)}`, { method: "POST" });
  if (!response.ok) throw new Error(`${step}: ${await response.text()}`);
}

/** Errors of the page's own scripts and how often it was loaded, from now on. */
export function watch(page: Page) {
  const seen = { errors: [] as string[], loads: 0 };
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("load", () => (seen.loads += 1));
  return seen;
}
