import { expect, test } from "@playwright/test";
import { expectAccessible, putSettings, tell, watch } from "./helpers";

const MODEL = "lab/llama";

test("a Hub that is away: said plainly, and over without a reload once it is back", async ({ page, request }) => {
  test.setTimeout(240_000);
  await page.goto("/");
  const seen = watch(page);
  const away = page.getByText(/^The Hub at http:.* does not answer$/);
  const form = page.getByRole("dialog", { name: "Download a model" });

  await test.step("the first run", async () => {
    await expect(away).toBeVisible();
    await expect(page.getByRole("button", { name: "Use the built-in sample Hub" })).toBeVisible();
    await page.getByRole("button", { name: "Try again" }).click();
    await expect(away).toBeVisible();
    await expectAccessible(page);
  });

  await test.step("the settings", async () => {
    await page.getByRole("link", { name: "Open settings" }).click();
    const hub = page.getByRole("region", { name: "Hub", exact: true });
    await hub.getByRole("button", { name: "Test the connection" }).click();
    await expect(hub.getByRole("status")).toContainText(/^http:.* does not answer: /);
    // Another choice is tested without being saved.
    await hub.getByRole("radio", { name: "The built-in sample Hub" }).check();
    await expect(hub.getByRole("status")).toHaveCount(0);
    await hub.getByRole("button", { name: "Test the connection" }).click();
    await expect(hub.getByRole("status")).toContainText(/The sample Hub answers$/);
    await page.getByRole("link", { name: "Models", exact: false }).first().click();
    await expect(away).toBeVisible();
  });

  await test.step("the form, while the Hub is away and when it is back", async () => {
    await page.keyboard.press("n");
    await form.getByRole("combobox", { name: "Model" }).fill(MODEL);
    await form.getByRole("button", { name: "Look up" }).click();
    await expect(form.getByText(/does not answer$/).first()).toBeVisible({ timeout: 30_000 });
    await expectAccessible(page);
    await tell("start the Hub");
    await form.getByRole("button", { name: "Try again" }).first().click();
    await expect(form.getByRole("region", { name: `About ${MODEL}` })).toBeVisible({ timeout: 30_000 });
    await expect(form.getByText(/does not answer$/)).toHaveCount(0);
  });

  await test.step("a download that outlives an outage", async () => {
    await putSettings(request, { bandwidth_limit_bytes_per_second: 4_000_000 });
    await form.getByRole("button", { name: /^Download/ }).click();
    const card = page.getByRole("article", { name: /^llama/ });
    const share = async () => Number(await card.getByRole("progressbar").getAttribute("aria-valuenow"));
    await expect.poll(share).toBeGreaterThan(5);
    await tell("stop the Hub");
    await expect(card).toContainText(/Retrying in \d+ s/, { timeout: 60_000 });
    await expectAccessible(page);
    await tell("start the Hub");
    await putSettings(request, { bandwidth_limit_bytes_per_second: null });
    await expect(card.getByText("Ready")).toBeVisible({ timeout: 90_000 });
  });

  await test.step("away for good: the sample Hub takes its place", async () => {
    await tell("stop the Hub");
    await page.keyboard.press("n");
    const field = form.getByRole("combobox", { name: "Model" });
    await field.fill("gpt2");
    await form.getByRole("button", { name: "Use the built-in sample Hub" }).first().click();
    await expect(form).toContainText("Searches the built-in sample Hub");
    await expect(form.getByText(/does not answer$/)).toHaveCount(0, { timeout: 60_000 });
    await field.fill("tiny-gpt2");
    await expect(page.getByRole("option", { name: /modelyard-samples\/tiny-gpt2/ })).toBeVisible({ timeout: 60_000 });
  });
  expect(seen).toEqual({ errors: [], loads: 0 });
});
