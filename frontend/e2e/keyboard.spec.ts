import { expect, type Locator, type Page, test } from "@playwright/test";
import { eachTab, open, readySample, routes, settled, SAMPLE, SMALL_SAMPLE } from "./helpers";

const SAMPLES = [SMALL_SAMPLE, "modelyard-samples/tiny-llama", SAMPLE];

let id: string;

test.beforeAll(async ({ request }) => {
  test.setTimeout(180_000);
  for (const sample of SAMPLES) id = await readySample(request, sample);
});

test("Tab comes to everything in the order it is read, shows where it is, and leaves again", async ({
  page,
  request,
}) => {
  test.setTimeout(240_000);
  for (const path of await routes(page)) {
    // The documentation is another project's page.
    if (path === "/docs") continue;
    await open(page, path);
    await eachTab(page, (name) => expectReachable(page, `${path} ${name}`));
  }
  await open(page, `/models/${await readySample(request, SMALL_SAMPLE)}?tab=try`);
  await page.getByRole("textbox", { name: "Text to continue" }).fill("So");
  await page.getByRole("button", { name: "Settings" }).click();
  await expectReachable(page, "trying a model");
});

test("the skip link leads past the menu", async ({ page }) => {
  await open(page, "/models");
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: "Skip to content" });
  await expect(skip).toBeFocused();
  await expect(skip).toBeInViewport();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Add local" })).toBeFocused();
});

test("/ searches, n downloads, arrows move, Enter opens, Esc closes, and the focus comes back", async ({ page }) => {
  await page.setViewportSize({ width: 1100, height: 900 });
  await open(page, "/models");

  await page.keyboard.press("/");
  const search = page.getByRole("textbox", { name: "Search models" });
  await expect(search).toBeFocused();
  await page.keyboard.type("tiny-gpt2");
  await expect(page.getByRole("article")).toHaveCount(1);
  // In a field the letters are text.
  await page.keyboard.type("n/");
  await expect(search).toHaveValue("tiny-gpt2n/");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await search.fill("");

  const link = (index: number) => page.locator(`[data-card-index="${index}"] [data-card-link]`).first();
  await expect(page.getByRole("article")).toHaveCount(SAMPLES.length);
  await link(0).focus();
  await page.keyboard.press("ArrowRight");
  await expect(link(1)).toBeFocused();
  await page.keyboard.press("ArrowLeft");
  await expect(link(0)).toBeFocused();
  // Two columns: the third card is below the first.
  await page.keyboard.press("ArrowDown");
  await expect(link(2)).toBeFocused();
  await page.keyboard.press("ArrowUp");
  await expect(link(0)).toBeFocused();
  await page.keyboard.press("ArrowUp");
  await expect(link(0)).toBeFocused();

  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: /^tiny-/ })).toBeFocused();
  const tabs = page.getByRole("tab");
  await tabs.first().focus();
  await page.keyboard.press("ArrowRight");
  await expect(tabs.nth(1)).toBeFocused();
  await expect(tabs.nth(1)).toHaveAttribute("aria-selected", "true");
  await page.goBack();
  await page.goBack();
  await expect(link(0)).toBeFocused();

  await page.keyboard.press("n");
  const form = page.getByRole("dialog", { name: "Download a model" });
  const model = form.getByRole("combobox", { name: "Model" });
  await expect(model).toBeFocused();
  await page.keyboard.type("tiny");
  await expect(page.getByRole("listbox").getByRole("option").first()).toBeVisible();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(form.getByRole("region", { name: /^About modelyard-samples\/tiny/ })).toBeVisible({ timeout: 60_000 });
  await settled(page);
  await expectTrapped(page, form);
  await page.keyboard.press("Escape");
  await expect(form).toHaveCount(0);
  await expect(link(0)).toBeFocused();
});

test("whatever is opened gives the focus back to what opened it", async ({ page }) => {
  await open(page, "/models");
  const closes = async (opener: Locator, opened: Locator) => {
    await opener.focus();
    await page.keyboard.press("Enter");
    await expect(opened).toBeVisible();
    await expect(opened.locator(":focus")).toHaveCount(1);
    await page.keyboard.press("Escape");
    await expect(opened).toHaveCount(0);
    await expect(opener).toBeFocused();
  };
  const dialog = (name: string) => page.getByRole("dialog", { name });
  await closes(page.getByRole("button", { name: "Downloads" }), dialog("Downloads"));
  await closes(page.getByRole("button", { name: "Download a model" }), dialog("Download a model"));
  await closes(page.getByRole("link", { name: "Add local" }), dialog("Add local models"));

  const menuButton = page.getByRole("button", { name: "More actions for tiny-gpt2, full precision" });
  await closes(menuButton, page.getByRole("menu"));
  for (const [item, name] of [
    ["Quantize to 4-bit…", "Quantize tiny-gpt2"],
    ["Delete…", "Delete tiny-gpt2"],
  ] as const) {
    await menuButton.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("menuitem", { name: item }).focus();
    await page.keyboard.press("Enter");
    await expect(dialog(name).locator(":focus")).toHaveCount(1);
    await page.keyboard.press("Escape");
    await expect(dialog(name)).toHaveCount(0);
    await expect(menuButton).toBeFocused();
  }

  await open(page, `/models/${id}`);
  for (const [opener, name] of [
    ["Quantize…", "Quantize tiny-qwen-moe"],
    ["Delete…", "Delete tiny-qwen-moe"],
  ] as const)
    await closes(page.getByRole("button", { name: opener }), dialog(name));
});

/** Presses Tab until it has gone once around what is open, and compares with what can be operated there. */
async function expectReachable(page: Page, path: string): Promise<void> {
  await page.evaluate(prepare);
  const visited: Stop[] = [];
  for (;;) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(whereNow);
    // Between the last and the first is the browser's own frame.
    if (stop === null) continue;
    if (visited.some(({ order }) => order === stop.order)) {
      expect(stop.order, `${path}: Tab is caught at ${stop.name}`).toBe(visited[0]?.order);
      break;
    }
    visited.push(stop);
  }
  const orders = visited.map(({ order }) => order);
  const first = orders.indexOf(Math.min(...orders));
  expect([...orders.slice(first), ...orders.slice(0, first)], `${path}: the order in which it is read`).toEqual(
    orders.toSorted((a, b) => a - b),
  );
  expect(
    visited.filter(({ marked }) => !marked).map(({ name }) => name),
    `${path}: the focus is not seen`,
  ).toEqual([]);
  const missed = await page.evaluate(missing, orders);
  expect(missed, `${path}: not reached by Tab`).toEqual([]);
}

/** A dialogue keeps the focus while it is open, and Tab still goes round in it. */
async function expectTrapped(page: Page, dialog: Locator): Promise<void> {
  const seen = new Set<string>();
  for (let presses = 0; presses < 6; presses += 1) {
    await page.keyboard.press("Tab");
    await expect(dialog.locator(":focus")).toHaveCount(1);
    seen.add(await page.evaluate(() => document.activeElement?.outerHTML ?? ""));
  }
  expect(seen.size).toBeGreaterThan(3);
}

interface Stop {
  order: number;
  name: string;
  /** Whether it looks different from when it has no focus. */
  marked: boolean;
}

declare global {
  interface Window {
    /** Everything that a mouse could operate, in the order of the document, with its look without focus. */
    operable: { element: Element; look: string }[];
    lookOf: (element: Element) => string;
  }
}

/** These three run in the page. */
function prepare(): void {
  const dialog = document.querySelector("[role=dialog]");
  const seen = (element: Element) =>
    element.checkVisibility({ visibilityProperty: true, opacityProperty: false }) &&
    element.closest("[inert], [aria-hidden=true]") === null;
  window.lookOf = (element) => {
    for (const one of document.getAnimations())
      if (one.effect?.getComputedTiming().endTime !== Number.POSITIVE_INFINITY) one.finish();
    return [element, element.parentElement, element.nextElementSibling, element.closest("[class*=-root]")]
      .filter((one) => one !== null)
      .map((one) => {
        const { outline, boxShadow, borderColor, transform } = getComputedStyle(one);
        return [outline, boxShadow, borderColor, transform].join();
      })
      .join(";");
  };
  const active = document.activeElement instanceof HTMLElement ? document.activeElement : null;
  active?.blur();
  window.operable = [
    ...(dialog ?? document).querySelectorAll(
      "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), [tabindex='0']",
    ),
  ]
    .filter(seen)
    .map((element) => ({ element, look: window.lookOf(element) }));
  active?.focus();
}

function whereNow(): Stop | null {
  const element = document.activeElement;
  if (element === null || element === document.body) return null;
  const order = window.operable.findIndex((one) => one.element === element);
  const name = element.getAttribute("aria-label") ?? element.outerHTML.slice(0, 120);
  return { order, name, marked: window.operable[order]?.look !== window.lookOf(element) };
}

function missing(orders: number[]): string[] {
  // One stop for a whole group is how radio buttons, tabs and trees are: arrows move inside.
  const inGroup = (element: Element) =>
    element.matches("[tabindex='-1']") || (element instanceof HTMLInputElement && element.type === "radio");
  return window.operable
    .filter(({ element }, order) => !orders.includes(order) && !inGroup(element))
    .map(({ element }) => element.outerHTML.slice(0, 160));
}
