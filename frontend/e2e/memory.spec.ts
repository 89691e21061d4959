import { expect, type Locator, type Page, test } from "@playwright/test";
import { putSettings, SAMPLE } from "./helpers";

const LLAMA = "modelyard-samples/tiny-llama";

/** The cells of one column, top to bottom; unavailable precisions have none. */
const column = (chart: Locator, name: string) => chart.locator(`td[data-label="${name}"]`);

test.beforeAll(async ({ request }) => putSettings(request, { endpoint: "builtin" }));

test("the chart answers for context and batch by itself, and asks for activations alone", async ({ page }) => {
  const asked: string[] = [];
  page.on("request", (request) => {
    const url = new URL(request.url());
    // The weights are asked for besides, where the whole takes its time.
    if (url.pathname.endsWith("/estimate-memory") && url.searchParams.get("parts") !== "weights")
      asked.push(
        `${url.searchParams.get("context")} ${url.searchParams.get("batch")} ${url.searchParams.get("dtype")}`,
      );
  });
  await page.goto(`/models?download=${LLAMA}`);
  const chart = page.getByRole("group", { name: "Precision" });
  // 12 layers of 4 heads of 32 values, keys and values, 2 bytes each: 6144 bytes per token.
  await expect(column(chart, "KV cache").first()).toHaveText("12.6 MB", { timeout: 60_000 });
  await expect(chart.getByText(/^Exact: /)).toBeVisible();
  await expect(column(chart, "Weights").first()).toHaveText("26.1 MB");
  expect(asked).toEqual(["2048 1 auto"]);

  let answer: () => void = () => undefined;
  const seen = new Promise<void>((resolve) => (answer = resolve));
  await page.route(/estimate-memory.*batch=64/, async (route) => {
    await seen;
    await route.continue();
  });
  const batch = chart.getByRole("slider", { name: "Batch" });
  await batch.focus();
  await page.keyboard.press("End");
  await expect(batch).toHaveAttribute("aria-valuetext", "64 sequences");
  await expect(column(chart, "KV cache").first()).toHaveText("805 MB");
  await expect(column(chart, "Activations").first()).toHaveText(/^≈ /);
  answer();
  await expect(column(chart, "Activations").first()).toHaveText(/^\d/, { timeout: 30_000 });
  expect(asked).toEqual(["2048 1 auto", "2048 64 auto"]);

  const context = chart.getByRole("slider", { name: "Context" });
  await context.focus();
  await page.keyboard.press("Home");
  await expect(context).toHaveAttribute("aria-valuetext", "128 tokens");
  await expect(column(chart, "KV cache").first()).toHaveText("50.3 MB");
});

test("another dtype is asked for once", async ({ page }) => {
  await page.goto(`/models?download=${LLAMA}`);
  const chart = page.getByRole("group", { name: "Precision" });
  await expect(column(chart, "Weights").first()).toHaveText("26.1 MB", { timeout: 60_000 });
  await chart.getByRole("combobox", { name: "Load in" }).selectOption("float32");
  await expect(column(chart, "Weights").first()).toHaveText("52.2 MB", { timeout: 30_000 });
  await expect(column(chart, "KV cache").first()).toHaveText("25.2 MB");
});

test("the client's totals are the server's", async ({ page, request }) => {
  const response = await request.get(
    `/api/v1/models/estimate-memory?model_id=${LLAMA}&context=512&batch=4&dtype=float16`,
  );
  const told = (await response.json()) as { options: { total_bytes: number }[] };
  await page.goto(`/models?download=${LLAMA}`);
  const chart = page.getByRole("group", { name: "Precision" });
  await expect(column(chart, "Weights").first()).toHaveText("26.1 MB", { timeout: 60_000 });
  await chart.getByRole("combobox", { name: "Load in" }).selectOption("float16");
  const context = chart.getByRole("slider", { name: "Context" });
  await context.focus();
  while ((await context.getAttribute("aria-valuetext")) !== "512 tokens") await page.keyboard.press("ArrowLeft");
  const batch = chart.getByRole("slider", { name: "Batch" });
  await batch.focus();
  while ((await batch.getAttribute("aria-valuetext")) !== "4 sequences") await page.keyboard.press("ArrowRight");
  const figures = told.options.map(
    ({ total_bytes }) => `${(total_bytes / 1e6).toFixed(total_bytes >= 99.95e6 ? 0 : 1)} MB`,
  );
  await expect(column(chart, "Total")).toHaveText(figures, { timeout: 30_000 });
});

test("a search tells roughly what would fit", async ({ page }) => {
  await page.goto("/models?download");
  await page.getByRole("combobox", { name: "Model" }).fill("tiny");
  await expect(page.getByRole("option", { name: /tiny-llama.*≈ fits.*13\.0 M parameters/ })).toBeVisible();
});

test("the form fits a window of 1440 by 900, and elsewhere scrolls as a whole", async ({ page }) => {
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto(`/models?download=${SAMPLE}`);
  const chart = page.getByRole("group", { name: "Precision" });
  await expect(chart.getByText(/^Exact: /)).toBeVisible({ timeout: 60_000 });
  expect(await scrolling(page)).toEqual([]);
  for (const name of [/^Full precision/, /^8-bit/, /^4-bit/])
    expect((await chart.getByRole("row", { name }).boundingBox())?.height).toBeCloseTo(44, -1);
  await expect(page.getByRole("button", { name: /^Download \d/ })).toBeInViewport();
  for (const [width, height] of [
    [1024, 768],
    [390, 844],
  ] as const) {
    await page.setViewportSize({ width, height });
    await expect.poll(() => scrolling(page)).toHaveLength(1);
    await expect(page.getByRole("button", { name: /^Download \d/ })).toBeInViewport();
  }
});

/** What of the dialog has a scrollbar of its own, by its role; the model card, which may be long, is left out. */
function scrolling(page: Page): Promise<(string | null)[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll("[role=dialog], [role=dialog] *")]
      .filter((element) => /auto|scroll/.test(getComputedStyle(element).overflowY))
      .filter(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight + 1)
      .filter((element) => element.getAttribute("aria-label") !== "Model card")
      .map((element) => element.getAttribute("role") ?? element.className),
  );
}
