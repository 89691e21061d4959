import { expect, test } from "@playwright/test";
import { expectAccessible, tell, watch } from "./helpers";

const MODEL = "lab/llama";
const TOKEN = "hf_reader";

test("a gated model: no token, a wrong one, terms to accept, and then it works", async ({ page }) => {
  const seen = watch(page);
  await page.goto("/models");
  await page.keyboard.press("n");
  await page.getByRole("combobox", { name: "Model" }).fill("llama");
  await page.getByRole("option", { name: /lab\/llama.*gated/ }).click();
  const form = page.getByRole("dialog", { name: "Download a model" });
  const about = form.getByRole("region", { name: `About ${MODEL}` });
  const download = form.getByRole("button", { name: /^Download/ });

  await test.step("without a token", async () => {
    await expect(about).toContainText("gated; no Hub token is set");
    await expect(download).toHaveCount(0);
    await expectAccessible(page);
    await form.getByRole("link", { name: "Set a token" }).last().click();
    await expect(page).toHaveURL(/\/settings$/);
  });

  const section = page.getByRole("region", { name: "Hub token" });
  const field = section.getByLabel("Token", { exact: true });

  await test.step("a token is tried before it is stored", async () => {
    await expect(section).toContainText("No token is saved");
    await section.getByRole("button", { name: "Test the token" }).click();
    await expect(section).toContainText("Paste a token first");
    await field.fill("hf_mistyped");
    await section.getByRole("button", { name: "Test the token" }).click();
    await expect(section).toContainText(/rejects the token/);
    await expectAccessible(page);
    await field.fill(TOKEN);
    await expect(section).not.toContainText(/rejects the token/);
    await section.getByRole("button", { name: "Test the token" }).click();
    await expect(section).toContainText("The token works: it belongs to modelyard");
    await expect(section).toContainText("No token is saved");
  });

  await test.step("stored, it shows whose it is and never what it is", async () => {
    await section.getByRole("button", { name: "Save the token" }).click();
    await expect(section).toContainText("Signed in as modelyard");
    await expect(section.getByLabel("Replace the token")).toHaveValue("");
    expect(await page.content()).not.toContain(TOKEN);
    await section.getByRole("button", { name: "Test the token" }).click();
    await expect(section).toContainText("The token works: it belongs to modelyard");
    await expectAccessible(page);
  });

  await test.step("back to the same model, whose terms are not accepted", async () => {
    await page.goBack();
    await expect(about).toContainText("gated; the terms are not accepted yet");
    await expect(download).toHaveCount(0);
    await expect(form.getByRole("link", { name: "Open the model's page" })).toHaveAttribute("href", /\/lab\/llama$/);
    await expectAccessible(page);
    await form.getByRole("button", { name: "Check again" }).click();
    await expect(about).toContainText("gated; the terms are not accepted yet");
  });

  await test.step("accepted", async () => {
    await tell("accept the terms");
    await form.getByRole("button", { name: "Check again" }).click();
    await expect(about).toContainText("gated; your account has access");
    await download.click();
    const card = page.getByRole("article", { name: /^llama/ });
    await expect(card.getByText("Ready")).toBeVisible({ timeout: 60_000 });
    await expect(card).toContainText(MODEL);
  });

  await test.step("forgotten", async () => {
    await page.getByRole("link", { name: "Settings" }).first().click();
    await section.getByRole("button", { name: "Remove the token" }).click();
    await expect(section).toContainText("No token is saved");
    await expect(section.getByRole("button", { name: "Remove the token" })).toHaveCount(0);
  });
  expect(seen.errors).toEqual([]);
});
