import { expect, test } from "@playwright/test";
import { eachTab, open, overflow, readySample, routes, SMALL_SAMPLE } from "./helpers";

test("nothing is wider than a small phone", async ({ page, request }) => {
  test.setTimeout(240_000);
  const id = await readySample(request, SMALL_SAMPLE);
  const paths = await routes(page);
  await page.setViewportSize({ width: 360, height: 740 });
  for (const path of [...paths, "/models?add", "/models?download=modelyard-samples/tiny-llama"]) {
    await open(page, path);
    await eachTab(page, async (name) => expect(await overflow(page), `${path} ${name}`).toBe(0));
  }

  await open(page, `/models/${id}`);
  await eachTab(page, async (name) => expect(await overflow(page), name).toBe(0));
  await page.getByRole("tab", { name: "Overview" }).click();
  for (const opener of ["Quantize…", "Delete…"]) {
    await page.getByRole("button", { name: opener }).click();
    await expect(page.getByRole("dialog")).toHaveCount(1);
    expect(await overflow(page), opener).toBe(0);
    await page.keyboard.press("Escape");
    await expect(page.getByRole("dialog")).toHaveCount(0);
  }

  await open(page, "/models");
  await page.getByRole("button", { name: "Select", exact: true }).click();
  await page.getByRole("button", { name: "Select all shown" }).click();
  expect(await overflow(page), "several at once").toBe(0);
  await page.getByRole("button", { name: "Open the menu" }).click();
  await expect(page.getByRole("region", { name: "This server" })).toBeVisible();
  expect(await overflow(page), "the menu").toBe(0);
  await page.getByRole("button", { name: "Close the menu" }).click();
  await page.getByRole("button", { name: "Downloads" }).click();
  await expect(page.getByRole("dialog", { name: "Downloads" })).toBeVisible();
  expect(await overflow(page), "downloads").toBe(0);
});

test("the first model stands high on the page", async ({ page, request }) => {
  await readySample(request, SMALL_SAMPLE);
  for (const [width, height] of [
    [1440, 900],
    [1024, 768],
    [390, 844],
  ] as const) {
    await page.setViewportSize({ width, height });
    await open(page, "/models");
    const strip = await page.getByRole("region", { name: "Memory and disk" }).boundingBox();
    expect(strip?.height, `${width}`).toBe(40);
    expect((await page.getByRole("article").first().boundingBox())?.y, `${width}`).toBeLessThan(260);
  }
});
