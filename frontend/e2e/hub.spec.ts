import { expect, test } from "@playwright/test";
import { expectAccessible, open, overflow } from "./helpers";

/** The Hub of this spec has lab/model-00 to lab/model-29 without weights, under MIT, and lab/llama with them. */
test("a Hub is searched, narrowed and read, by keyboard", async ({ page }) => {
  test.setTimeout(300_000);
  await open(page, "/models?view=hub&find=lab");
  const view = page.getByRole("region", { name: "The Hub" });
  const list = view.getByRole("list", { name: "Models on the Hub" });
  const hits = list.getByRole("listitem");
  const found = view.getByRole("status").filter({ hasText: /models?/ });

  await test.step("page after page", async () => {
    await expect(found).toHaveText("24 models, more on the Hub");
    await view.getByRole("button", { name: "Load more" }).press("Enter");
    await expect(found).toHaveText("31 models");
    await expect(hits).toHaveCount(31);
    await expect(hits.nth(24).getByRole("button").first()).toBeFocused();
    await page.keyboard.press("ArrowUp");
    await expect(hits.nth(23).getByRole("button").first()).toBeFocused();
  });

  await test.step("filters, which the address keeps", async () => {
    await view.getByRole("combobox", { name: "Licence" }).selectOption("mit");
    await expect(found).toHaveText("24 models, more on the Hub");
    await view.getByRole("combobox", { name: "Fits this machine" }).selectOption("Fits in full precision");
    await expect(view.getByText("No results with these filters")).toBeVisible();
    await expectAccessible(page);
    await view.getByRole("button", { name: "Clear the filters" }).last().click();
    await view.getByRole("combobox", { name: "Architecture" }).fill("llama");
    await view.getByRole("combobox", { name: "Fits this machine" }).selectOption("Fits in full precision");
    await expect(hits).toHaveCount(1);
    await page.reload();
    await expect(hits).toHaveCount(1);
    await expect(hits).toContainText(/lab\/llama.*≈ fits/);
  });

  await test.step("the card beside the list", async () => {
    const opener = hits.getByRole("button", { name: "lab/llama" });
    await opener.press("Enter");
    const pane = view.getByRole("complementary", { name: "llama on the Hub" });
    await expect(pane.getByRole("article", { name: "Model card of llama" })).toContainText("A card of this test.");
    await expect(pane).toBeFocused();
    await expectAccessible(page);
    await page.keyboard.press("Escape");
    await expect(pane).toHaveCount(0);
    await expect(opener).toBeFocused();
  });

  await test.step("on narrow screens, the filters behind a button and the card alone", async () => {
    for (const width of [1024, 390]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await overflow(page)).toBe(0);
    }
    await view.getByRole("button", { name: "Filter (2)" }).click();
    await expect(page.getByRole("dialog", { name: "Filter" }).getByRole("combobox", { name: "Task" })).toBeFocused();
    await page.keyboard.press("Escape");
    const opener = hits.getByRole("button", { name: "lab/llama" });
    await opener.click();
    const alone = page.getByRole("dialog", { name: "llama" });
    await expect(alone).toContainText("A card of this test.");
    expect(await overflow(page)).toBe(0);
    await expectAccessible(page);
    await alone.getByRole("button", { name: "Download" }).click();
    await expect(page.getByRole("dialog", { name: "Download a model" })).toBeVisible();
    await expect(page.getByRole("dialog", { name: "Download a model" })).toContainText("lab/llama");
  });
});
