import { join } from "node:path";
import { expect, type Page, test } from "@playwright/test";
import { readySample, rows, tell } from "./helpers";

/** The pictures of the README and of docs/training.md, written to $DOCS_PICTURES by `backend/tests/e2e/pictures.py`. */
const folder = process.env.DOCS_PICTURES;
test.skip(folder === undefined, "DOCS_PICTURES names no folder");
test.setTimeout(1_200_000);

// However many there are: what is looked at is on the cards.
test.beforeEach(({ page }) =>
  page.addInitScript(() => localStorage.setItem("modelyard.list", JSON.stringify({ layout: "cards" }))),
);

async function photograph(page: Page, name: string, height: number): Promise<void> {
  await page.setViewportSize({ width: 1440, height });
  await page.evaluate(() => {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    window.scrollTo(0, 0);
  });
  // What is drawn after the window has its size, the curves above all.
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(folder ?? "", `${name}.png`) });
}

test.beforeEach(({ page }) => page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" }));

test("a training run", async ({ page, request }) => {
  const id = await readySample(request, "modelyard-samples/tiny-llama");
  const text = process.env.DOCS_TEXT ?? "";
  await page.goto(`/training/new?model=${id}`);
  await page.locator("input[type=file]").setInputFiles(text);
  const field = (name: string) => page.getByRole("textbox", { name });
  await field("Tokens to train on").fill("500000");
  await field("Context").fill("128");
  await field("Batch").fill("1024");
  await field("Learning rate").fill("0.001");
  await expect(page.getByText(/^Fits in /)).toBeVisible({ timeout: 60_000 });
  await photograph(page, "training-form", 1640);
  await page.getByRole("button", { name: "Start training" }).click();

  const bar = page.getByRole("progressbar");
  const share = async () => Number(await bar.getAttribute("aria-valuenow"));
  await expect.poll(share, { timeout: 900_000, intervals: [1000] }).toBeGreaterThan(55);
  await photograph(page, "training-run", 1500);
  await expect(page.getByRole("region", { name: "Result" })).toBeVisible({ timeout: 900_000 });
  await photograph(page, "training-result", 840);
});

test("models", async ({ page, request }) => {
  for (const { id } of await rows(request)) await request.delete(`/api/v1/models/${id}`);
  await tell("fill");
  await page.goto("/models");
  const coming = page.getByRole("article", { name: /^gemma/ });
  await expect(coming.getByText(/MB\/s/)).toBeVisible();
  await coming.hover();
  // A rate is shown for a few seconds after the server told it.
  await page.setViewportSize({ width: 1440, height: 1010 });
  await page.screenshot({ path: join(folder ?? "", "models.png") });
});
