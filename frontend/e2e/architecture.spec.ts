import { expect, type Locator, type Page, test } from "@playwright/test";
import { readySample, SAMPLE, SMALL_SAMPLE } from "./helpers";

let id: string;

test.use({ permissions: ["clipboard-read", "clipboard-write"] });

test.beforeAll(async ({ request }) => {
  id = await readySample(request, SMALL_SAMPLE);
});

const clipboard = (page: Page) => page.evaluate(() => navigator.clipboard.readText());
const row = (where: Page | Locator, path: string) => where.locator(`[role=treeitem][data-path="${path}"]`);

test("a model that is here: tree by keyboard, hook points, code", async ({ page }) => {
  await page.goto(`/models/${id}?tab=architecture`);
  const details = page.getByRole("main");
  await expect(details.getByText(/^Verified by a forward pass/)).toBeVisible({ timeout: 60_000 });
  await expect(details.getByRole("button", { name: /^transformer\.wte\.weight/ })).toBeVisible();

  await row(details, "transformer.h").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await expect(row(details, "transformer.h.0")).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(details.getByText("transformer.h.0 copied")).toBeVisible();
  expect(await clipboard(page)).toBe("transformer.h.0");

  await details.getByRole("textbox", { name: "Search modules" }).fill("c_proj");
  await expect(row(details, "transformer.h.0.attn.c_proj")).toBeVisible();

  await details.getByRole("combobox", { name: "Layer" }).selectOption({ label: "Layer 1" });
  await details.getByRole("button", { name: "Code for transformer.h.1", exact: true }).click();
  await details.getByRole("button", { name: "Copy code" }).click();
  expect(await clipboard(page)).toContain('model.get_submodule("transformer.h.1").register_forward_hook(keep)');
  await details.getByText("SAELens", { exact: true }).click();
  await expect(details.getByLabel("SAELens code")).toContainText('hook_name="transformer.h.1"');

  await page.reload();
  await expect(details.getByRole("tab", { name: "Architecture" })).toHaveAttribute("aria-selected", "true");
});

test("a model that is not downloaded: asked for when it is opened, not before", async ({ page }) => {
  let asked = 0;
  page.on("request", (request) => {
    if (request.url().includes("/models/architecture")) asked += 1;
  });
  await page.goto(`/models?download=${SAMPLE}`);
  const about = page.getByRole("dialog");
  const opener = about.getByRole("button", { name: "Architecture and hook points" });
  await expect(opener).toBeVisible({ timeout: 60_000 });
  expect(asked).toBe(0);
  await opener.click();
  await expect(about.getByText("mixture of experts")).toBeVisible({ timeout: 60_000 });
  expect(asked).toBe(1);
  await about.getByRole("button", { name: "mixture of experts" }).hover();
  await expect(page.getByText(/through a few of many MLPs/)).toBeVisible();
  await expect(row(about, "model.layers")).toBeVisible();
});

test("the files of a model that is here need no Hub", async ({ page }) => {
  await page.route("**/api/v1/models/info/**", (route) => route.abort());
  await page.goto(`/models/${id}?tab=files`);
  await expect(page.getByText(/files, all on the disk$/)).toBeVisible();
  await expect(page.getByText("model.safetensors").first()).toBeVisible();
  await page.getByRole("link", { name: "config.json", exact: true }).click();
  await expect(page.getByRole("group", { name: "Text of config.json" })).toContainText("GPT2LMHeadModel");
  await page.getByRole("tab", { name: "Card" }).click();
  await expect(page.getByRole("article", { name: /^Model card/ })).toContainText("tiny-gpt2");
});
