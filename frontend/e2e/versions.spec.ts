import { expect, test } from "@playwright/test";
import { expectAccessible, open, overflow, rows, tell } from "./helpers";

const MODEL = "lab/moving";

test("update a model that has moved, roll back, pin", async ({ page, request }) => {
  await request.post("/api/v1/models/download", { data: { model_id: MODEL } });
  const ready = async () => (await rows(request)).filter(({ status }) => status === "ready").length;
  await expect.poll(ready, { timeout: 60_000 }).toBe(1);
  const [first] = await rows(request);
  await tell("move");

  await open(page, `/models/${first?.id ?? ""}?tab=files`);
  const main = page.getByRole("main");
  await main.getByRole("button", { name: "Check again" }).click();
  await expect(main.getByText("A newer version is on the Hub")).toBeVisible();
  await expect(main.getByText("Update available")).toBeVisible();
  await main.getByRole("button", { name: "Update…" }).click();
  const dialog = page.getByRole("dialog", { name: "Update moving" });
  await expect(dialog.getByText("Changed: README")).toBeVisible();
  await expect(dialog.getByText("7 B to download")).toBeVisible();
  await expectAccessible(page);
  await dialog.getByRole("button", { name: "Update", exact: true }).click();
  await expect(main.getByText("This version is not in use")).toBeVisible({ timeout: 60_000 });
  await expectAccessible(page);

  await main.getByRole("link", { name: "Open the version in use" }).click();
  await open(page, `${new URL(page.url()).pathname}?tab=files`);
  await main.getByRole("button", { name: "Roll back…" }).click();
  const back = page.getByRole("dialog", { name: "Roll back moving" });
  await expect(back.getByText("Nothing to download")).toBeVisible();
  await back.getByRole("button", { name: "Roll back" }).click();
  await expect(main.getByText("This version is not in use")).toBeVisible();

  await open(page, "/models");
  const card = page.getByRole("article");
  await expect(card.getByText("Replaced by another version")).toBeVisible();
  await expect(card.getByRole("link", { name: "Update available" })).toBeVisible();
  await card
    .getByRole("button", { name: /^More actions for moving, / })
    .first()
    .click();
  await page.getByRole("menuitem", { name: "Pin this version" }).click();
  await expect(card.getByText("Pinned")).toBeVisible();
  await expect(card.getByText("Update available")).toHaveCount(0);
  await expectAccessible(page);
  await page.setViewportSize({ width: 390, height: 740 });
  expect(await overflow(page)).toBe(0);
});
