import { expect, test } from "@playwright/test";
import { putSettings, rows, SAMPLE } from "./helpers";

test.describe.configure({ mode: "serial" });

test("from an empty page to a ready model, through a reload, and back to empty", async ({ page, request }) => {
  test.skip((await rows(request)).length > 0, "needs a server without models");
  const failures: string[] = [];
  page.on("pageerror", (error) => failures.push(error.message));

  await page.goto("/");
  await expect(page).toHaveURL(/\/models$/);
  await expect(page.getByRole("heading", { name: "Get a first model" })).toBeVisible();
  await expect(page.getByRole("group", { name: "Memory and disk of this machine" })).toContainText("System memory");

  // Where the real Hub answers there is nothing to switch from here, so the settings page is the way.
  const unreachable = page.getByRole("button", { name: "Use the built-in sample Hub" });
  const reachable = page.getByRole("button", { name: "Search the Hub" });
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

  // Slow enough to watch and to reload in the middle.
  await page.goto("/settings");
  await page.getByLabel("Bandwidth limit, MB per second").fill("4");
  await page.getByRole("region", { name: "Downloads" }).getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("The settings were saved")).toBeVisible();

  await page.goto("/models");
  await page.getByRole("heading", { name: "Get a first model" }).waitFor();
  await page.keyboard.press("n");
  await page.getByRole("combobox", { name: "Model" }).fill("qwen-moe");
  await page.getByRole("option", { name: /tiny-qwen-moe/ }).click();
  const about = page.getByRole("region", { name: `About ${SAMPLE}` });
  // A sample is made when it is first asked for.
  await expect(about).toContainText("Qwen3MoeForCausalLM", { timeout: 60_000 });
  await expect(about).toContainText("Supported");
  await expect(page.getByRole("radio")).toHaveCount(3);
  await expect(page.getByText(/to run$/).first()).toBeVisible({ timeout: 30_000 });
  await page
    .getByRole("dialog")
    .getByRole("button", { name: /^Download/ })
    .click();

  const card = page.getByRole("article", { name: /^tiny-qwen-moe/ });
  const bar = card.getByRole("progressbar");
  const share = async () => Number(await bar.getAttribute("aria-valuenow"));
  await expect.poll(share).toBeGreaterThan(0);
  const before = await share();
  await expect.poll(share).toBeGreaterThan(before);
  await expect(card).toContainText(/MB\/s/);
  await expect(page).toHaveTitle(/^\(1\) Models/);

  await page.reload();
  await expect(card).toContainText("Downloading");
  const after = await share();
  expect(after).toBeGreaterThanOrEqual(before);
  await expect.poll(share).toBeGreaterThan(after);

  await card.getByRole("button", { name: "Pause tiny-qwen-moe" }).click();
  await expect(card.getByRole("button", { name: "Resume tiny-qwen-moe" })).toBeVisible();
  await page.getByRole("button", { name: /download under way/ }).click();
  await page.getByRole("dialog", { name: "Downloads" }).getByRole("button", { name: "Resume tiny-qwen-moe" }).click();
  await page.keyboard.press("Escape");
  await putSettings(request, { bandwidth_limit_bytes_per_second: null });
  await expect(card.getByText("Ready")).toBeVisible({ timeout: 60_000 });
  await expect(page).toHaveTitle(/^Models/);

  await card.getByRole("link", { name: "tiny-qwen-moe" }).click();
  await expect(page).toHaveURL(/\/models\/[0-9a-f]+/);
  const drawer = page.getByRole("dialog", { name: /tiny-qwen-moe/ });
  await expect(drawer).toContainText("27,046,656");
  await drawer.getByRole("tab", { name: "Files" }).click();
  await expect(drawer).toContainText("model-00001-of-00003.safetensors");
  await page.reload();
  await expect(drawer.getByRole("tab", { name: "Files" })).toHaveAttribute("aria-selected", "true");
  await page.keyboard.press("Escape");

  await page.getByRole("button", { name: "More actions for tiny-qwen-moe" }).click();
  await page.getByRole("menuitem", { name: "Delete…" }).click();
  const question = page.getByRole("dialog", { name: "Delete tiny-qwen-moe" });
  await expect(question).toContainText(/Frees 5\d\.\d MB/);
  await question.getByRole("button", { name: /^Delete and free/ }).click();
  await expect(page.getByRole("heading", { name: "Get a first model" })).toBeVisible();
  expect(await rows(request)).toEqual([]);
  expect(failures).toEqual([]);
});
