import { expect, test } from "@playwright/test";
import { expectAccessible, putSettings, tell, watch } from "./helpers";

test("the server ends in the middle of a download: nothing old is shown as live, and the page comes back by itself", async ({
  page,
  request,
}) => {
  test.setTimeout(240_000);
  await putSettings(request, { bandwidth_limit_bytes_per_second: 1_500_000 });
  await page.goto("/models?download=lab/llama");
  const seen = watch(page);
  await page
    .getByRole("dialog", { name: "Download a model" })
    .getByRole("button", { name: /^Download/ })
    .click({ timeout: 60_000 });

  const card = page.getByRole("article", { name: /^llama/ });
  const share = async () => Number(await card.getByRole("progressbar").getAttribute("aria-valuenow"));
  const notice = page.getByRole("alert").filter({ hasText: "The server does not answer" });
  const header = page.getByRole("banner");
  const flowing = async () => {
    const before = await share();
    await expect.poll(share).toBeGreaterThan(before);
    await expect(card).toContainText(/B\/s/);
    await expect(notice).toHaveCount(0);
    await expect(header).toContainText("Live");
  };
  const still = async () => {
    await expect(notice).toContainText(/as of .*; it may be out of date/);
    await expect(header).toContainText("Reconnecting");
    await expect(card).toContainText("(last known)");
    await expect(card).not.toContainText(/B\/s|left/);
    await expect(header).not.toContainText(/B\/s|left/);
  };

  await test.step("the API process is killed; its supervisor starts another", async () => {
    await flowing();
    await tell("kill the API");
    await still();
    await flowing();
  });

  await test.step("the whole server is gone", async () => {
    await tell("kill the server");
    await still();
    await expectAccessible(page);
    await card.getByRole("button", { name: "Pause llama" }).click();
    await expect(page.getByText("Could not pause llama")).toBeVisible();
    await expect(card.getByRole("button", { name: "Pause llama" })).toBeEnabled();
    await page.getByRole("link", { name: "Settings" }).first().click();
    await expect(notice).toBeVisible();
    await expectAccessible(page);
    // Pressed while nothing answers: once the server is back, the page may be quicker than the press.
    await notice.getByRole("button", { name: "Try now" }).click();
    await expect(header).toContainText("Reconnecting");
    await expect(notice).toBeVisible();
  });

  await test.step("it is back", async () => {
    await tell("start the server");
    await expect(header).toContainText("Live", { timeout: 60_000 });
    // What could not be fetched meanwhile is fetched now.
    await expect(page.getByRole("region", { name: "Hub", exact: true })).toBeVisible({ timeout: 60_000 });
    await page.getByRole("link", { name: "Models", exact: false }).first().click();
    await flowing();
    await putSettings(request, { bandwidth_limit_bytes_per_second: null });
    await expect(card.getByText("Ready")).toBeVisible({ timeout: 60_000 });
  });
  expect(seen).toEqual({ errors: [], loads: 0 });
});
