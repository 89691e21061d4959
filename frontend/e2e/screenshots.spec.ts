import { join } from "node:path";
import { expect, type Page, test } from "@playwright/test";
import { readySample, SMALL_SAMPLE } from "./helpers";

/** Pictures for people to look at, written to $SHOTS; nothing is compared. */
const folder = process.env.SHOTS;
test.skip(folder === undefined, "SHOTS names no folder");

let id: string;

test.beforeAll(async ({ request }) => {
  id = await readySample(request, SMALL_SAMPLE);
});

interface State {
  name: string;
  path: string;
  ready: (page: Page) => Promise<void>;
}

const STATES: State[] = [
  { name: "models", path: "/models", ready: (page) => page.getByRole("article").first().hover() },
  {
    name: "filtered-empty",
    path: "/models?q=nothing",
    ready: (page) => expect(page.getByText("No model matches")).toBeVisible(),
  },
  {
    name: "download-form",
    path: "/models?download=modelyard-samples/tiny-llama",
    ready: (page) => expect(page.getByText(/to run$/).first()).toBeVisible({ timeout: 30_000 }),
  },
  {
    name: "unknown-model",
    path: "/models?download=nobody/nothing",
    ready: (page) => expect(page.getByText("There is no model nobody/nothing on this Hub")).toBeVisible(),
  },
  {
    name: "drawer",
    path: "/models/ID",
    ready: (page) => expect(page.getByRole("tab", { name: "Files" })).toBeVisible(),
  },
  {
    name: "architecture",
    path: "/models/ID?tab=architecture",
    ready: (page) => expect(page.getByRole("tree")).toBeVisible({ timeout: 60_000 }),
  },
  {
    name: "add",
    path: "/models?add",
    ready: (page) => expect(page.getByRole("textbox", { name: "Folder" })).toBeVisible(),
  },
  {
    name: "files",
    path: "/models/ID?tab=files",
    ready: (page) => expect(page.getByText("config.json").first()).toBeVisible(),
  },
  { name: "training", path: "/training", ready: (page) => expect(page.getByRole("heading").first()).toBeVisible() },
  {
    name: "settings",
    path: "/settings",
    ready: (page) => expect(page.getByRole("heading", { name: "Workers" })).toBeVisible(),
  },
];

for (const colorScheme of ["light", "dark"] as const) {
  for (const [size, viewport] of [
    ["wide", { width: 1440, height: 900 }],
    ["phone", { width: 390, height: 844 }],
  ] as const) {
    test(`${colorScheme}, ${size}`, async ({ browser, baseURL }) => {
      const page = await browser.newPage({ colorScheme, viewport, baseURL });
      for (const { name, path, ready } of STATES) {
        await page.goto(path.replace("ID", id));
        await ready(page);
        await page.waitForTimeout(300);
        await page.screenshot({ path: join(folder ?? "", `${name}-${size}-${colorScheme}.png`) });
      }
      await page.close();
    });
  }
}
