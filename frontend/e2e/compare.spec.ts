import { expect, test } from "@playwright/test";
import { expectAccessible, open, overflow, readySample, rows, SMALL_SAMPLE } from "./helpers";

test("a model and its 4-bit copy, side by side", async ({ page, request }) => {
  const id = await readySample(request, SMALL_SAMPLE);
  const copy = async () =>
    (await rows(request)).find((row) => row.model_id === SMALL_SAMPLE && row.quantization === "4bit");
  if ((await copy()) === undefined)
    await request.post(`/api/v1/models/${id}/quantize`, { data: { quantization: "4bit" } });
  await expect.poll(async () => (await copy())?.status, { timeout: 120_000 }).toBe("ready");

  await open(page, `/models/${id}`);
  await page.getByRole("link", { name: "Compare…" }).click();
  await expect(page).toHaveURL(new RegExp(`/compare\\?left=${id}$`));
  await expect(page.getByRole("combobox", { name: "Right model" })).toHaveValue(`${SMALL_SAMPLE}, 4-bit`);
  await expectAccessible(page);
  await page.getByRole("textbox", { name: "Text to continue" }).fill("The capital of France is");
  await page.keyboard.press("Control+Enter");
  await expect(page.getByText(/^Log-probabilities differ by/)).toBeVisible({ timeout: 120_000 });

  const left = page.getByRole("listbox", { name: `Tokens of Left model, ${SMALL_SAMPLE}` });
  const tokens = left.getByRole("option");
  expect(await tokens.count()).toBeGreaterThan(0);
  const both = page.getByRole("region", { name: /^(Left|Right) model, / });
  const [one, other] = [await both.nth(0).boundingBox(), await both.nth(1).boundingBox()];
  expect(one?.y).toBe(other?.y);
  await tokens.first().hover();
  await expect(both.nth(0).getByText(/log-probability −?\d.*other model −?\d.*difference \d/)).toBeVisible();
  await left.focus();
  await page.keyboard.press("End");
  await expect(tokens.last()).toHaveAttribute("aria-selected", "true");
  await expectAccessible(page);

  await page.setViewportSize({ width: 360, height: 740 });
  expect(await overflow(page)).toBe(0);
  const [above, below] = [await both.nth(0).boundingBox(), await both.nth(1).boundingBox()];
  expect(below?.y).toBeGreaterThan((above?.y ?? 0) + (above?.height ?? 0));
  await expectAccessible(page);
});
