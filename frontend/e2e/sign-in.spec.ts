import { expect, test } from "@playwright/test";
import { expectAccessible, overflow } from "./helpers";

test("the server's key: asked for, refused, accepted", async ({ page }) => {
  await page.goto("/models");
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await expectAccessible(page);
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await overflow(page)).toBe(0);
  // By keyboard alone: the field waits for the key.
  await expect(page.getByLabel("Server key")).toBeFocused();
  await page.keyboard.type("another key");
  await page.keyboard.press("Enter");
  await expect(page.getByText("This is not the server's key.")).toBeVisible();
  await expectAccessible(page);
  await page.getByLabel("Server key").fill("a-key-of-this-test");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Models" })).toBeVisible();
  // The feed has the cookie too.
  await expect(page.getByRole("banner").getByRole("status")).toHaveText("Live");
  // And so has OpenAI's API, through which a model is tried: what is wrong there is the request alone.
  const asked = await page.evaluate(
    async () => (await fetch("/v1/completions", { method: "POST", body: "{}" })).status,
  );
  expect(asked).toBe(400);
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.reload();
  await expect(page.getByRole("heading", { name: "Models" })).toBeVisible();
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Settings" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
});
