import { expect, test } from "@playwright/test";
import { open, rows, watch } from "./helpers";

test("a trained model answers a question", async ({ page, request }) => {
  test.setTimeout(300_000);
  const model = (await rows(request)).find((row) => row.status === "ready");
  const seen = watch(page);
  await open(page, `/models/${model?.id}?tab=try`);
  const details = page.getByRole("main");
  await details.getByRole("button", { name: "Settings" }).click();
  await details.getByRole("textbox", { name: "Temperature" }).fill("0");
  await details.getByRole("textbox", { name: "Message" }).fill("What is the capital of France?");
  await page.keyboard.press("Enter");
  await expect(details.getByRole("region", { name: "Chat with imported" })).toContainText(
    "The capital of France is Paris.",
    { timeout: 120_000 },
  );
  expect(seen.errors).toEqual([]);
});
