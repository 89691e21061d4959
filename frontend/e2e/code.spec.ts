import { execFileSync } from "node:child_process";
import { expect, type Page, test } from "@playwright/test";
import { open, readySample, SMALL_SAMPLE } from "./helpers";

/** What programs of the page print for a text, run as a user would paste them. */
async function printed(page: Page, id: string, field: string, forms: string[]): Promise<string[]> {
  await open(page, `/models/${id}?tab=try`);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("textbox", { name: "Temperature" }).fill("0");
  await page.getByRole("textbox", { name: "Max tokens" }).fill("12");
  await page.getByRole("button", { name: "Code", exact: true }).click();
  await page.getByRole("textbox", { name: field }).fill("The capital of France");
  const texts: string[] = [];
  for (const form of forms) {
    await page.getByText(form, { exact: true }).click();
    const code = (await page.getByRole("group", { name: /^Code for/ }).textContent()) ?? "";
    texts.push(execFileSync("python", ["-c", code], { encoding: "utf-8", timeout: 120_000 }));
  }
  return texts;
}

test("the code for transformers runs, and writes what the server writes", async ({ page, request }) => {
  test.setTimeout(300_000);
  const [server, here] = await printed(page, await readySample(request, SMALL_SAMPLE), "Text to continue", [
    "openai (Python)",
    "transformers",
  ]);
  expect(here?.trim()).not.toBe("");
  expect(here).toBe(server);
  // Of a model in bfloat16 two tokens may be equally likely, so its texts are not compared.
  const llama = await readySample(request, "modelyard-samples/tiny-llama");
  const [chat] = await printed(page, llama, "Message", ["transformers"]);
  expect(chat?.trim()).not.toBe("");
});
