import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import {
  eachTab,
  expectAccessible,
  open,
  putSettings,
  readySample,
  routes,
  SAMPLE,
  settled,
  SMALL_SAMPLE,
} from "./helpers";

/** Every state in both colour schemes: nothing that axe finds. Training runs have theirs in their own spec. */
let id: string;

test.beforeAll(async ({ request }) => {
  id = await readySample(request, SMALL_SAMPLE);
});

test("every page", async ({ page }) => {
  test.setTimeout(240_000);
  for (const path of await routes(page)) {
    await open(page, path);
    await eachTab(page, () => expectAccessible(page));
  }
});

test("a card that is pointed at, and its menu", async ({ page }) => {
  await open(page, "/models");
  await page.getByRole("article").first().hover();
  await expectAccessible(page);
  await page.getByRole("button", { name: "More actions for tiny-gpt2, full precision" }).click();
  await expect(page.getByRole("menu")).toBeVisible();
  await expectAccessible(page, { popup: true });
});

test("a favourite with tags and a note, and the filters by them", async ({ page, request }) => {
  const labels = { favourite: true, tags: ["baseline", "small model"], note: "Used in the first report." };
  await request.patch(`/api/v1/models/${id}`, { data: labels });
  await open(page, "/models?tag=baseline&favourite=true");
  await expect(page.getByRole("link", { name: "small model" })).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Filter (2)" }).click();
  await expect(page.getByRole("dialog", { name: "Filter" })).toBeVisible();
  await expectAccessible(page, { popup: true });
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "More actions for tiny-gpt2", exact: true }).click();
  await page.getByRole("menuitem", { name: "Tags and note…" }).click();
  await expect(page.getByRole("dialog").getByRole("button", { name: "Remove the tag baseline" })).toBeVisible();
  await expectAccessible(page);
  await request.patch(`/api/v1/models/${id}`, { data: { favourite: false, tags: [], note: "" } });
});

test("the table, its columns, and the whole yard", async ({ page }) => {
  await open(page, "/models");
  await page.getByRole("button", { name: "Show a table" }).click();
  await expect(page.getByRole("table", { name: "Models" })).toBeVisible();
  await page.getByRole("button", { name: "Show memory and disk" }).click();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Columns" }).click();
  await expect(page.getByRole("dialog", { name: "Columns" })).toBeVisible();
  await expectAccessible(page, { popup: true });
});

test("the filter that matches nothing", async ({ page }) => {
  await page.goto("/models?q=nothing-has-this-name");
  await expect(page.getByText("No model matches")).toBeVisible();
  await expectAccessible(page);
});

test("a model, every tab", async ({ page }) => {
  test.setTimeout(240_000);
  await page.goto(`/models/${id}`);
  await expect(page.getByText(/^(Exact|Approximate|The weights are exact)/)).toBeVisible({ timeout: 60_000 });
  await eachTab(page, async (name) => {
    if (name === "Architecture") {
      await page.getByRole("button", { name: "Code for transformer.h.0", exact: true }).click({ timeout: 60_000 });
      await page.getByRole("treeitem", { name: /^h ModuleList/ }).click();
    }
    await expectAccessible(page);
  });
});

test("trying a model", async ({ page }) => {
  test.setTimeout(240_000);
  await page.goto(`/models/${id}?tab=try`);
  await page.getByRole("textbox", { name: "Text to continue" }).fill("The capital of France is");
  await page.keyboard.press("Enter");
  await expect(page.getByText(/first token after/)).toBeVisible({ timeout: 120_000 });
  await page.getByRole("button", { name: "Settings" }).click();
  await expectAccessible(page);
});

test("the questions before quantizing and before a deletion", async ({ page }) => {
  await open(page, `/models/${id}`);
  await page.getByRole("button", { name: "Quantize…" }).click();
  await expect(page.getByText(/in memory instead of/).first()).toBeVisible({ timeout: 60_000 });
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Delete…" }).click();
  await expect(page.getByRole("button", { name: /^Delete and free|^Delete$/ })).toBeVisible();
  await expectAccessible(page);
});

test("several models at once", async ({ page }) => {
  await open(page, "/models");
  await page.getByRole("button", { name: "Select", exact: true }).click();
  await page.getByRole("button", { name: "Select all shown" }).click();
  await expectAccessible(page);
  await page.getByRole("button", { name: /^Quantize \d+$/ }).click();
  await expect(page.getByRole("menuitem", { name: "To 4-bit" })).toBeVisible();
  await expectAccessible(page, { popup: true });
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /^Delete \d+…/ }).click();
  await expect(
    page.getByRole("dialog", { name: "Delete models" }).getByRole("button", { name: /^Delete/ }),
  ).toBeVisible();
  await expect(page.getByText(/tiny-gpt2, .*: (frees|not deleted)/).first()).toBeVisible();
  await expectAccessible(page);
});

test("the download form", async ({ page }) => {
  await page.goto("/models?download");
  await page.getByRole("combobox", { name: "Model" }).fill("tiny");
  await expect(page.getByRole("listbox").getByRole("option").first()).toBeVisible();
  await expectAccessible(page, { popup: true });
  await page.getByRole("option", { name: /tiny-llama/ }).click();
  await expect(page.getByText(/^(Exact|Approximate|The weights are exact)/)).toBeVisible({ timeout: 30_000 });
  await page.getByRole("button", { name: /^\d+ files/ }).click();
  await page.getByRole("button", { name: "Architecture and hook points" }).click();
  await expect(page.getByRole("tree")).toBeVisible({ timeout: 60_000 });
  await expectAccessible(page);
});

test("a model that is not there", async ({ page }) => {
  await page.goto("/models?download=nobody/nothing");
  await expect(page.getByText("Model nobody/nothing not found on this Hub")).toBeVisible();
  await expectAccessible(page);
});

test("adding what is here already, and a folder that is not", async ({ page }) => {
  // What another tool put into the cache.
  const cache = join(process.env.HF_HOME ?? "", "hub");
  const [owner, name] = SMALL_SAMPLE.split("/");
  cpSync(join(cache, `models--${owner}--${name}`), join(cache, "models--another--model"), {
    recursive: true,
    verbatimSymlinks: true,
  });
  await page.goto("/models?add");
  await expect(page.getByRole("button", { name: "Add another/model" })).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("textbox", { name: "Folder" }).fill("/no/such/folder");
  await page.getByRole("button", { name: "Import", exact: true }).click();
  await expect(page.getByText("The folder was not imported")).toBeVisible();
  await expectAccessible(page);
});

test("downloads: none, and one that is paused", async ({ page, request }) => {
  await open(page, "/models");
  const tray = page.getByRole("dialog", { name: "Downloads" });
  await page.getByRole("button", { name: "Downloads" }).click();
  await expect(tray).toBeVisible();
  await expectAccessible(page);
  await page.keyboard.press("Escape");

  await putSettings(request, { bandwidth_limit_bytes_per_second: 500_000 });
  const started = await request.post("/api/v1/models/download", { data: { model_id: SAMPLE } });
  const { id: row } = (await started.json()) as { id: string };
  await page.getByRole("button", { name: /under way$/ }).click();
  await expect(tray.getByRole("progressbar")).toBeVisible();
  await page.mouse.move(0, 0);
  await expectAccessible(page);
  await tray.getByRole("button", { name: /^Pause/ }).click();
  await expect(tray.getByRole("button", { name: /^Resume/ })).toBeVisible();
  await page.mouse.move(0, 0);
  await expect(page.getByRole("tooltip")).toHaveCount(0);
  await expectAccessible(page);
  await open(page, `/models/${row}?tab=files`);
  await expectAccessible(page);
  await request.post(`/api/v1/models/${row}/cancel`);
  await putSettings(request, { bandwidth_limit_bytes_per_second: null });
});

test("settings that are tested, refused and saved", async ({ page }) => {
  await open(page, "/settings");
  const hub = page.getByRole("region", { name: "Hub", exact: true });
  await hub.getByRole("radio", { name: "Another Hub or mirror" }).check();
  await hub.getByLabel("Address").fill("http://127.0.0.1:1");
  await hub.getByRole("button", { name: "Test the connection" }).click();
  await expect(hub.getByRole("status")).toContainText("does not answer");
  await hub.getByLabel("Address").fill("not an address");
  await hub.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("The settings were not changed")).toBeVisible();
  const downloads = page.getByRole("region", { name: "Downloads" });
  await downloads.getByLabel("Parallel downloads").fill("");
  await downloads.getByRole("button", { name: "Save" }).click();
  await expect(downloads.getByText("Enter a number from 1 to 16")).toBeVisible();
  await settled(page);
  await expectAccessible(page);
});
