import { expect, test } from "@playwright/test";
import { expectAccessible, readySample, SMALL_SAMPLE } from "./helpers";

const WORDS = "model layer feature sparse token river mountain code test light garden apple number seven water".split(
  " ",
);

/** Text that has something to learn in it: sentences of few words, in an order that does not repeat. */
function corpus(rows: number): Buffer {
  let state = 1;
  const next = () => (state = (state * 48_271) % 2_147_483_647);
  const text = () => Array.from({ length: 60 }, () => WORDS[next() % WORDS.length]).join(" ");
  return Buffer.from(
    Array.from({ length: rows }, (_, row) => JSON.stringify({ title: `row ${row}`, text: text() })).join("\n"),
  );
}

test("plans, trains, cancels, resumes and deletes", async ({ page, request }) => {
  test.setTimeout(700_000);
  const failures: string[] = [];
  page.on("pageerror", (error) => failures.push(error.message));
  const id = await readySample(request, SMALL_SAMPLE);

  await page.goto(`/models/${id}`);
  await page.getByRole("link", { name: "Train an SAE on this" }).click();
  await expect(page).toHaveURL(`/training/new?model=${id}`);
  await expect(page.getByText(/^d_in is \d/)).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText("Still needed: a text file.")).toBeVisible();

  await page
    .locator("input[type=file]")
    .setInputFiles({ name: "corpus.jsonl", mimeType: "application/jsonl", buffer: corpus(2000) });
  await expect(page.getByText(/^2,000 rows, .* text columns: title, text$/)).toBeVisible();
  await expect(page.getByRole("combobox", { name: "Column with the text" })).toHaveValue("text");
  await expect(page.getByText(/^Fits in /)).toBeVisible();

  await page.getByRole("textbox", { name: "Context" }).fill("8");
  await expect(page.getByText("Correct the marked field.")).toBeVisible();
  await expect(page.getByRole("textbox", { name: "Context" })).toHaveAttribute("aria-invalid", "true");
  await expect(page.getByRole("button", { name: "Start training" })).toBeDisabled();
  await page.getByRole("textbox", { name: "Context" }).fill("64");
  await page.getByRole("textbox", { name: "Batch" }).fill("512");
  await page.getByRole("textbox", { name: "Expansion factor" }).fill("4");
  await page.getByRole("textbox", { name: "Tokens to train on" }).fill("250000");
  await expect(page.getByText(/^Fits in /)).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Start training" }).click();

  await expect(page).toHaveURL(/\/training\/[0-9a-f]{32}$/);
  const bar = page.getByRole("progressbar");
  const share = async () => Number(await bar.getAttribute("aria-valuenow"));
  await expect.poll(share, { timeout: 90_000 }).toBeGreaterThan(0);
  const before = await share();
  await expect.poll(share).toBeGreaterThan(before);
  await expect(page.getByRole("img", { name: /^Explained variance, held-out text: from / })).toBeVisible({
    timeout: 60_000,
  });
  const log = page.getByLabel("Lines of the log");
  await expect(log).toContainText("training with sae-lens");
  await expectAccessible(page);

  await page.getByRole("button", { name: /^Cancel/ }).click();
  await expect(page.getByRole("button", { name: /^Resume/ })).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText("Cancelled").first()).toBeVisible();
  const kept = await share();
  expect(kept).toBeGreaterThan(0);
  await page.reload();
  await page.getByRole("button", { name: /^Resume/ }).click();
  await expect.poll(share, { timeout: 90_000 }).toBeGreaterThan(kept);
  await expect(log).toContainText(/stopped, because it was asked to[^]*going on from checkpoint-/);

  await page.getByRole("link", { name: "Training" }).first().click();
  const row = page.getByRole("listitem").filter({ hasText: "tiny-gpt2" }).first();
  await expect(row.getByText("Completed")).toBeVisible({ timeout: 400_000 });
  await row.getByRole("link").first().click();
  const result = page.getByRole("region", { name: "Result" });
  await expect(result.getByLabel("Code for a notebook")).toContainText("SAE.load_from_disk(");
  await expectAccessible(page);
  await page.setViewportSize({ width: 360, height: 740 });
  const overflow = () =>
    page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  await expect.poll(overflow).toBe(0);

  await page.getByRole("button", { name: "Delete…" }).click();
  await page
    .getByRole("dialog", { name: /^Delete tiny-gpt2/ })
    .getByRole("button", { name: /^Delete and free/ })
    .click();
  await expect(page).toHaveURL(/\/training$/);
  await expect.poll(overflow).toBe(0);
  await page.goto(`/training/new?model=${id}`);
  await expect(page.getByText(/^d_in is \d/)).toBeVisible({ timeout: 60_000 });
  await expect.poll(overflow).toBe(0);
  expect(failures).toEqual([]);
});
