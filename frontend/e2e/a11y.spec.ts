import { expect, test } from "@playwright/test";
import { expectAccessible, readySample, SMALL_SAMPLE } from "./helpers";

let id: string;

test.beforeAll(async ({ request }) => {
  id = await readySample(request, SMALL_SAMPLE);
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });

    test("every page", async ({ page }) => {
      for (const [path, ready] of [
        ["/models", "Models"],
        ["/training", "Training"],
        ["/settings", "Settings"],
        ["/nowhere", "There is no such page"],
      ] as const) {
        await page.goto(path);
        await expect(page.getByRole("heading", { name: ready }).first()).toBeVisible();
        await page.waitForLoadState("networkidle");
        await expectAccessible(page);
      }
    });

    test("a card that is pointed at, and its menu", async ({ page }) => {
      await page.goto("/models");
      await page.getByRole("article").first().hover();
      await expectAccessible(page);
      await page
        .getByRole("button", { name: /^More actions/ })
        .first()
        .click();
      await expect(page.getByRole("menu")).toBeVisible();
      await expectAccessible(page, { popup: true });
    });

    test("the filter that matches nothing", async ({ page }) => {
      await page.goto("/models?q=nothing-has-this-name");
      await expect(page.getByText("No model matches")).toBeVisible();
      await expectAccessible(page);
    });

    test("the drawer, every tab", async ({ page }) => {
      await page.goto(`/models/${id}`);
      await expect(page.getByRole("dialog", { name: /tiny-gpt2/ })).toBeVisible();
      await expect(page.getByText(/to run$/).first()).toBeVisible({ timeout: 60_000 });
      await expectAccessible(page);
      await page.getByRole("tab", { name: "Architecture" }).click();
      await page.getByRole("button", { name: "Code for transformer.h.0", exact: true }).click({ timeout: 60_000 });
      await page.getByRole("treeitem", { name: /^h ModuleList/ }).click();
      await expectAccessible(page);
      await page.getByRole("tab", { name: "Files" }).click();
      await expect(page.getByText("config.json").first()).toBeVisible();
      await expectAccessible(page);
    });

    test("the download form", async ({ page }) => {
      await page.goto("/models?download");
      await page.getByRole("combobox", { name: "Model" }).fill("tiny");
      await expect(page.getByRole("listbox").getByRole("option").first()).toBeVisible();
      await expectAccessible(page, { popup: true });
      await page.getByRole("option", { name: /tiny-llama/ }).click();
      await expect(page.getByText(/to run$/).first()).toBeVisible({ timeout: 30_000 });
      await page.getByRole("button", { name: "Architecture and hook points" }).click();
      await expect(page.getByRole("tree")).toBeVisible({ timeout: 60_000 });
      await expectAccessible(page);
    });

    test("adding what is here already", async ({ page }) => {
      await page.goto("/models?add");
      await expect(page.getByRole("textbox", { name: "Folder" })).toBeVisible();
      await expectAccessible(page);
    });

    test("a model that is not there", async ({ page }) => {
      await page.goto("/models?download=nobody/nothing");
      await expect(page.getByText("There is no model nobody/nothing on this Hub")).toBeVisible();
      await expectAccessible(page);
    });

    test("the question before a deletion", async ({ page }) => {
      await page.goto(`/models/${id}`);
      await page.getByRole("button", { name: "Delete…" }).click();
      await expect(page.getByRole("button", { name: /^Delete and free/ })).toBeVisible();
      await expectAccessible(page);
    });

    test("downloads", async ({ page }) => {
      await page.goto("/models");
      await page.getByRole("button", { name: /^Downloads$|under way$/ }).click();
      await expect(page.getByRole("dialog", { name: "Downloads" })).toBeVisible();
      await expectAccessible(page);
    });
  });
}

test("nothing is wider than a small phone", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const path of [
    "/models",
    `/models/${id}`,
    `/models/${id}?tab=architecture`,
    `/models/${id}?tab=files`,
    "/models?add",
    "/models?download=modelyard-samples/tiny-llama",
    "/training",
    "/settings",
  ]) {
    await page.goto(path);
    await page.waitForLoadState("networkidle");
    if (path.includes("architecture")) await expect(page.getByRole("tree")).toBeVisible({ timeout: 60_000 });
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow, path).toBe(0);
  }
});
