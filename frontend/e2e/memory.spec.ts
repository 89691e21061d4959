import { expect, test } from "@playwright/test";
import { putSettings } from "./helpers";

const LLAMA = "modelyard-samples/tiny-llama";

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
  await expect(chart.getByText("KV cache 12.6 MB").first()).toBeVisible({ timeout: 60_000 });
  await expect(chart.getByText(/^Exact: /)).toBeVisible();
  await expect(chart.getByText("weights 26.1 MB")).toBeVisible();
  expect(asked).toEqual(["2048 1 auto"]);

  const batch = chart.getByRole("slider", { name: "Batch" });
  await batch.focus();
  await page.keyboard.press("End");
  await expect(batch).toHaveAttribute("aria-valuetext", "64 sequences");
  await expect(chart.getByText("KV cache 805 MB").first()).toBeVisible();
  await expect(chart.getByText(/^activations ≈ /).first()).toBeVisible();
  await expect(chart.getByText(/^activations \d/).first()).toBeVisible({ timeout: 30_000 });
  expect(asked).toEqual(["2048 1 auto", "2048 64 auto"]);

  const context = chart.getByRole("slider", { name: "Context" });
  await context.focus();
  await page.keyboard.press("Home");
  await expect(context).toHaveAttribute("aria-valuetext", "128 tokens");
  await expect(chart.getByText("KV cache 50.3 MB").first()).toBeVisible();
});

test("another dtype is asked for once", async ({ page }) => {
  await page.goto(`/models?download=${LLAMA}`);
  const chart = page.getByRole("group", { name: "Precision" });
  await expect(chart.getByText("weights 26.1 MB")).toBeVisible({ timeout: 60_000 });
  await chart.getByRole("combobox", { name: "Load in" }).selectOption("float32");
  await expect(chart.getByText("weights 52.2 MB")).toBeVisible({ timeout: 30_000 });
  await expect(chart.getByText("KV cache 25.2 MB").first()).toBeVisible();
});

test("the client's totals are the server's", async ({ page, request }) => {
  const response = await request.get(
    `/api/v1/models/estimate-memory?model_id=${LLAMA}&context=512&batch=4&dtype=float16`,
  );
  const told = (await response.json()) as { options: { total_bytes: number }[] };
  await page.goto(`/models?download=${LLAMA}`);
  const chart = page.getByRole("group", { name: "Precision" });
  await expect(chart.getByText("weights 26.1 MB")).toBeVisible({ timeout: 60_000 });
  await chart.getByRole("combobox", { name: "Load in" }).selectOption("float16");
  const context = chart.getByRole("slider", { name: "Context" });
  await context.focus();
  while ((await context.getAttribute("aria-valuetext")) !== "512 tokens") await page.keyboard.press("ArrowLeft");
  const batch = chart.getByRole("slider", { name: "Batch" });
  await batch.focus();
  while ((await batch.getAttribute("aria-valuetext")) !== "4 sequences") await page.keyboard.press("ArrowRight");
  for (const { total_bytes } of told.options) {
    const figure = (total_bytes / 1e6).toFixed(total_bytes >= 99.95e6 ? 0 : 1);
    await expect(chart.getByText(`${figure} MB to run`, { exact: true })).toBeVisible({ timeout: 30_000 });
  }
});

test("a search tells roughly what would fit", async ({ page }) => {
  await page.goto("/models?download");
  await page.getByRole("combobox", { name: "Model" }).fill("tiny");
  await expect(page.getByRole("option", { name: /tiny-llama.*≈ fits.*13\.0 M parameters/ })).toBeVisible();
});
