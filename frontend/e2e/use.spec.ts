import { expect, test } from "@playwright/test";
import { readySample, rows, SMALL_SAMPLE } from "./helpers";

test("quantize, load, try, stop, unload and delete", async ({ page, request }) => {
  const failures: string[] = [];
  page.on("pageerror", (error) => failures.push(error.message));
  await readySample(request, SMALL_SAMPLE);
  for (const old of (await rows(request)).filter((row) => row.model_id === SMALL_SAMPLE && row.quantization !== "none"))
    await request.delete(`/api/v1/models/${old.id}`);

  await page.goto("/models");
  const original = page.getByRole("article", { name: "tiny-gpt2, none" });
  await original.getByRole("button", { name: "More actions for tiny-gpt2" }).click();
  await page.getByRole("menuitem", { name: "Quantize to 4-bit…" }).click();
  const question = page.getByRole("dialog", { name: "Quantize tiny-gpt2" });
  await expect(question).toContainText("4.91 MB in memory instead of 7.63 MB", { timeout: 60_000 });
  await question.getByRole("button", { name: "Quantize to 4-bit" }).click();

  const copy = page.getByRole("article", { name: "tiny-gpt2, 4bit" });
  await expect(copy.getByText("Ready")).toBeVisible({ timeout: 90_000 });
  await copy.getByRole("button", { name: "Load tiny-gpt2" }).click();
  await expect(copy.getByText("Loading")).toBeVisible();
  await expect(copy.getByText(/^Loaded on /)).toBeVisible({ timeout: 60_000 });
  await expect(copy).toContainText("4.91 MBmeasured");
  const yard = page.getByRole("group", { name: "Memory and disk of this machine" });
  await expect(yard.getByRole("list", { name: "Loaded models" })).toContainText("tiny-gpt2 4.91 MB");

  await copy.getByRole("link", { name: "Try tiny-gpt2" }).click();
  const drawer = page.getByRole("dialog", { name: /tiny-gpt2/ });
  const field = drawer.getByRole("textbox", { name: "Text to continue" });
  await field.fill("The capital of France is");
  await drawer.getByRole("textbox", { name: "Max new tokens" }).fill("8");
  await field.press("Control+Enter");
  await expect(drawer.getByText(/^8 tokens · [\d.]+ tokens\/s/)).toBeVisible({ timeout: 60_000 });
  const output = drawer.getByRole("region", { name: "Text from tiny-gpt2" });
  const length = async () => (await output.textContent())?.length ?? 0;
  expect(await length()).toBeGreaterThan("The capital of France is".length);

  await drawer.getByRole("textbox", { name: "Max new tokens" }).fill("400");
  await field.press("Control+Enter");
  await expect.poll(length).toBeGreaterThan("The capital of France is".length);
  const before = await length();
  await expect.poll(length).toBeGreaterThan(before);
  await drawer.getByRole("button", { name: "Stop" }).click();
  await expect(drawer.getByText("Stopped")).toBeVisible();
  const id = new URL(page.url()).pathname.split("/").at(-1);
  const loaded = async () => {
    const response = await request.get("/api/v1/models/loaded");
    return ((await response.json()) as { items: { id: string; in_use: number }[] }).items.find((item) => item.id === id);
  };
  // The server stops too, long before 400 tokens.
  await expect.poll(async () => (await loaded())?.in_use).toBe(0);

  await drawer.getByRole("radio", { name: "Chat" }).check({ force: true });
  await drawer.getByRole("textbox", { name: "Message" }).fill("Hello");
  await drawer.getByRole("button", { name: "Send" }).click();
  await expect(drawer.getByText("It takes no chat")).toBeVisible();
  await expect(drawer.getByRole("textbox", { name: "Message" })).toHaveValue("Hello");

  await drawer.getByRole("button", { name: "Unload" }).click();
  await expect(drawer.getByRole("button", { name: "Load", exact: true })).toBeVisible({ timeout: 30_000 });
  await drawer.getByRole("tab", { name: "Overview" }).click();
  await expect(drawer.getByText(/it held came back/)).toBeVisible();
  await expect(drawer.getByText(/nats on average/)).toBeVisible();
  await expect(drawer.getByText('modelyard.load("modelyard-samples/tiny-gpt2", quantization="4bit")')).toBeVisible();
  expect(await loaded()).toBeUndefined();

  await drawer.getByRole("button", { name: "Delete…" }).click();
  const deletion = page.getByRole("dialog", { name: "Delete tiny-gpt2" });
  await deletion.getByRole("button", { name: /^Delete and free/ }).click();
  await expect(copy).toHaveCount(0);
  await expect(original).toBeVisible();
  expect(failures).toEqual([]);
});
