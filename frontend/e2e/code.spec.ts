import { execFileSync } from "node:child_process";
import { expect, test } from "@playwright/test";
import { open, readySample } from "./helpers";

const LLAMA = "modelyard-samples/tiny-llama";

test("the code for transformers writes what the server writes", async ({ page, request }) => {
  test.setTimeout(300_000);
  const id = await readySample(request, LLAMA);
  await open(page, `/models/${id}?tab=try`);
  const drawer = page.getByRole("dialog", { name: /tiny-llama/ });
  await drawer.getByRole("button", { name: "Settings" }).click();
  await drawer.getByRole("textbox", { name: "Temperature" }).fill("0");
  await drawer.getByRole("textbox", { name: "Max tokens" }).fill("12");
  await drawer.getByRole("button", { name: "Code", exact: true }).click();
  for (const [mode, field] of [
    ["Chat", "Message"],
    ["Continue a text", "Text to continue"],
  ] as const) {
    await drawer.getByText(mode, { exact: true }).click();
    await drawer.getByRole("textbox", { name: field }).fill("The capital of France");
    const written = [];
    for (const form of ["openai (Python)", "transformers"]) {
      await drawer.getByText(form, { exact: true }).click();
      const code = (await drawer.getByRole("group", { name: /^Code for/ }).textContent()) ?? "";
      written.push(execFileSync("python", ["-c", code], { encoding: "utf-8", timeout: 120_000 }));
    }
    expect(written[0]?.trim()).not.toBe("");
    expect(written[1], mode).toBe(written[0]);
  }
});
