import { expect, test } from "@playwright/test";
import { putSettings, rows, SMALL_SAMPLE, watch } from "./helpers";

test("from an empty home to a model that is used, and back to an empty home", async ({ page, request }) => {
  test.setTimeout(300_000);
  expect(await rows(request)).toEqual([]);
  const seen = watch(page);

  await test.step("the first run, and a Hub that is there", async () => {
    await page.goto("/");
    await expect(page).toHaveURL(/\/models$/);
    await expect(page.getByRole("heading", { name: "Get a first model" })).toBeVisible();
    await expect(page.getByRole("region", { name: "Memory and disk" })).toContainText("System memory");
    // Where the real Hub answers there is nothing to switch from here, so the settings page is the way.
    const unreachable = page.getByRole("button", { name: "Use the built-in sample Hub" });
    const reachable = page.getByRole("link", { name: "Search the Hub" });
    await expect(unreachable.or(reachable)).toBeVisible();
    if (await unreachable.isVisible()) {
      await unreachable.click();
    } else {
      await page.getByRole("link", { name: "Settings" }).first().click();
      await page.getByRole("radio", { name: "The built-in sample Hub" }).check();
      await page.getByRole("region", { name: "Hub", exact: true }).getByRole("button", { name: "Save" }).click();
      await page.getByRole("link", { name: "Models", exact: false }).first().click();
    }
    await expect(page.getByText("The built-in sample Hub is in use.")).toBeVisible();
  });

  await test.step("a limit, slow enough to watch and to reload in the middle", async () => {
    await page.getByRole("link", { name: "Settings" }).first().click();
    const downloads = page.getByRole("region", { name: "Downloads" });
    await downloads.getByLabel("Bandwidth limit, MB per second").fill("0.4");
    await downloads.getByRole("button", { name: "Save" }).click();
    await expect(page.getByText("The settings were saved")).toBeVisible();
    await page.getByRole("link", { name: "Models", exact: false }).first().click();
  });

  await test.step("search and preview", async () => {
    await page.getByRole("heading", { name: "Get a first model" }).waitFor();
    await page.keyboard.press("n");
    await page.getByRole("combobox", { name: "Model" }).fill("gpt2");
    await page.getByRole("option", { name: /tiny-gpt2/ }).click();
    const about = page.getByRole("region", { name: `About ${SMALL_SAMPLE}` });
    // A sample is made when it is first asked for.
    await expect(about).toContainText("GPT2LMHeadModel", { timeout: 60_000 });
    await expect(about).toContainText(/Transformers\s*supported/);
    await expect(page.getByRole("group", { name: "Precision" }).getByRole("radio")).toHaveCount(3);
    await expect(page.getByText(/^(Exact|Approximate|The weights are exact)/)).toBeVisible({ timeout: 30_000 });
  });

  const original = page.getByRole("group", { name: "tiny-gpt2, full precision" });
  const bar = original.getByRole("progressbar");
  const share = async () => Number(await bar.getAttribute("aria-valuenow"));

  await test.step("download, reload in the middle, pause, reload again, resume", async () => {
    await page
      .getByRole("dialog")
      .getByRole("button", { name: /^Download/ })
      .click();
    await expect.poll(share).toBeGreaterThan(0);
    const before = await share();
    await expect.poll(share).toBeGreaterThan(before);
    await expect(original).toContainText(/[kM]B\/s/);
    await expect(page).toHaveTitle(/^(\(1\)|\d+ % ·) Models/);

    await page.reload();
    await expect(original).toContainText("Downloading");
    const after = await share();
    expect(after).toBeGreaterThanOrEqual(before);
    await expect.poll(share).toBeGreaterThan(after);

    await original.getByRole("button", { name: "Pause tiny-gpt2" }).click();
    await expect(original.getByRole("button", { name: "Resume tiny-gpt2" })).toBeVisible();
    const paused = await share();
    await page.reload();
    await expect(original.getByRole("button", { name: "Resume tiny-gpt2" })).toBeVisible();
    expect(await share()).toBeGreaterThanOrEqual(paused);
    await page.getByRole("button", { name: /download under way/ }).click();
    await page.getByRole("dialog", { name: "Downloads" }).getByRole("button", { name: "Resume tiny-gpt2" }).click();
    await page.keyboard.press("Escape");
    // What is left may be there before anybody looks.
    const shares = () => bar.evaluateAll((bars) => bars.map((one) => Number(one.getAttribute("aria-valuenow"))));
    await expect.poll(async () => (await shares()).every((now) => now > paused)).toBe(true);
    await putSettings(request, { bandwidth_limit_bytes_per_second: null });
    await expect(original.getByText("Ready")).toBeVisible({ timeout: 60_000 });
    await expect(page).toHaveTitle(/^Models/);
  });

  const details = page.getByRole("main");

  await test.step("what it is, at an address of its own", async () => {
    await page.getByRole("article").getByRole("link", { name: "tiny-gpt2", exact: true }).click();
    await expect(page).toHaveURL(/\/models\/[0-9a-f]+/);
    await details.getByRole("tab", { name: "Files" }).click();
    await expect(details).toContainText("model.safetensors");
    await page.reload();
    await expect(details.getByRole("tab", { name: "Files" })).toHaveAttribute("aria-selected", "true");
    // The way back leads through the views to the list.
    await page.goBack();
    await expect(details.getByRole("tab", { name: "Overview" })).toHaveAttribute("aria-selected", "true");
    await page.goBack();
    await expect(original).toBeVisible();
  });

  const copy = page.getByRole("group", { name: "tiny-gpt2, 4-bit" });

  await test.step("quantize", async () => {
    await original.getByRole("button", { name: "More actions for tiny-gpt2" }).click();
    await page.getByRole("menuitem", { name: "Quantize to 4-bit…" }).click();
    const question = page.getByRole("dialog", { name: "Quantize tiny-gpt2" });
    await expect(question).toContainText("4.91 MB in memory instead of 7.63 MB", { timeout: 60_000 });
    await question.getByRole("button", { name: "Quantize to 4-bit" }).click();
    await expect(copy.getByText("Ready")).toBeVisible({ timeout: 90_000 });
  });

  await test.step("load", async () => {
    await expect(page.getByRole("article")).toHaveCount(1);
    await expect(page.getByRole("tab", { name: "Installed (1)" })).toBeVisible();
    const card = page.getByRole("article");
    const before = await card.boundingBox();
    await copy.getByRole("button", { name: "Load tiny-gpt2" }).click();
    await expect(copy.getByText("Loading", { exact: true })).toBeVisible();
    expect(await card.boundingBox(), "nothing jumps").toEqual(before);
    await expect(copy.getByText(/^Loaded in /)).toBeVisible({ timeout: 60_000 });
    expect(await card.boundingBox(), "nothing jumps").toEqual(before);
    await expect(copy).toContainText("4.91 MBmeasured");
    await page.getByRole("button", { name: "Show memory and disk" }).click();
    const yard = page.getByRole("group", { name: "Memory and disk of this machine" });
    await expect(yard.getByRole("list", { name: "Loaded models" })).toContainText("tiny-gpt2 4.91 MB");
    await expect(page.getByRole("region", { name: "This server" })).toContainText("1 model");
  });

  const field = details.getByRole("textbox", { name: "Text to continue" });
  const output = details.getByRole("region", { name: "Text from tiny-gpt2" });
  const length = async () => (await output.locator("> div").first().textContent())?.length ?? 0;
  const loaded = async () => {
    const id = new URL(page.url()).pathname.split("/").at(-1);
    const response = await request.get("/api/v1/models/loaded");
    return ((await response.json()) as { items: { id: string; in_use: number }[] }).items.find(
      (item) => item.id === id,
    );
  };

  await test.step("try, and stop in the middle", async () => {
    await copy.getByRole("link", { name: "Try it: tiny-gpt2" }).click();
    await field.fill("The capital of France is");
    await details.getByRole("button", { name: "Settings" }).click();
    await details.getByRole("textbox", { name: "Temperature" }).fill("0");
    await details.getByRole("textbox", { name: "Max tokens" }).fill("8");
    await field.press("Enter");
    await expect(output.getByRole("status")).toHaveText(/^8 tokens · .*first token after/, { timeout: 60_000 });
    expect(await length()).toBeGreaterThan("The capital of France is".length);

    await details.getByRole("textbox", { name: "Max tokens" }).fill("400");
    await field.press("Enter");
    await expect.poll(length).toBeGreaterThan("The capital of France is".length);
    const before = await length();
    await expect.poll(length).toBeGreaterThan(before);
    await details.getByRole("button", { name: "Stop" }).click();
    await expect(output.getByRole("status")).toHaveText(/stopped$/);
    // The server stops too, long before 400 tokens.
    await expect.poll(async () => (await loaded())?.in_use).toBe(0);

    await expect(details.getByRole("radio", { name: "Chat" })).toBeDisabled();
    await expect(details.getByText("Chat is not available: the tokenizer has no chat template.")).toBeVisible();
  });

  await test.step("unload, with the proof", async () => {
    await details.getByRole("button", { name: "Unload" }).click();
    await expect(details.getByRole("button", { name: "Load", exact: true })).toBeVisible({ timeout: 30_000 });
    await details.getByRole("tab", { name: "Overview" }).click();
    await expect(details.getByText(/it held/)).toBeVisible();
    await expect(details.getByText(/nats on average/)).toBeVisible();
    await expect(details.getByText('modelyard.load("modelyard-samples/tiny-gpt2", quantization="4bit")')).toBeVisible();
    expect(await loaded()).toBeUndefined();
  });

  await test.step("delete the copy, then the original", async () => {
    await details.getByRole("button", { name: "Delete…" }).click();
    const question = page.getByRole("dialog", { name: "Delete tiny-gpt2" });
    await question.getByRole("button", { name: /^Delete and free/ }).click();
    // Nothing is lost yet.
    const undo = page.getByRole("button", { name: "Undo" });
    await undo.click();
    await expect(details.getByRole("button", { name: "Delete…" })).toBeEnabled();
    expect((await rows(request)).length).toBe(2);

    await details.getByRole("button", { name: "Delete…" }).click();
    await question.getByRole("button", { name: /^Delete and free/ }).click();
    await expect(undo).toBeVisible();
    await expect(copy).toHaveCount(0, { timeout: 40_000 });
    await expect(original).toBeVisible();

    await original.getByRole("button", { name: "More actions for tiny-gpt2" }).click();
    await page.getByRole("menuitem", { name: "Delete…" }).click();
    await question.getByRole("button", { name: /^Delete and free/ }).click();
    await expect(page.getByRole("button", { name: "Undo" })).toBeVisible();
    // Whoever leaves the page does not take it back.
    await page.goto("/settings");
    await page.goto("/models");
    await expect(page.getByRole("heading", { name: "Get a first model" })).toBeVisible({ timeout: 40_000 });
    expect(await rows(request)).toEqual([]);
  });
  expect(seen.errors).toEqual([]);
});
