import { join } from "node:path";
import { expect, type Page, test } from "@playwright/test";
import { putSettings, readySample, rows, SMALL_SAMPLE, tell } from "./helpers";

/**
 * Pictures for people to look at, written to $SHOTS; nothing is compared. `backend/tests/e2e/pictures.py` starts this
 * with an empty server and fills it with rows in every state.
 */
const folder = process.env.SHOTS;
/** Only the states whose names match. */
const only = new RegExp(process.env.SHOTS_ONLY ?? "");
test.skip(folder === undefined, "SHOTS names no folder");
test.setTimeout(1_200_000);

// However many there are: what is looked at is on the cards.
test.beforeEach(({ page }) =>
  page.addInitScript(() => localStorage.setItem("modelyard.list", JSON.stringify({ layout: "cards" }))),
);

interface State {
  name: string;
  path: string;
  ready: (page: Page) => Promise<unknown>;
  /** More than a screen's height of it is worth a look. */
  tall?: boolean;
}

const SIZES = [1440, 1024, 390] as const;

/** Two models chosen, one of which Modelyard did not download itself. */
async function select(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Select", exact: true }).click();
  for (const name of ["Adopted", "Newer-on-the-Hub"])
    await page.getByRole("article", { name }).getByRole("checkbox").check();
}

async function photograph(page: Page, name: string, tall = false): Promise<void> {
  for (const width of SIZES) {
    await page.setViewportSize({ width, height: tall ? 1800 : width === 390 ? 844 : 900 });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.waitForTimeout(250);
      await page.screenshot({ path: join(folder ?? "", `${name}-${width}-${colorScheme}.png`) });
    }
  }
}

test("first run", async ({ page, request }) => {
  await page.goto("/models");
  await expect(page.getByText("does not answer").first()).toBeVisible();
  await photograph(page, "first-run-no-hub");
  await putSettings(request, { endpoint: "builtin" });
  await page.goto("/models");
  await expect(page.getByText("modelyard-samples/tiny-gpt2").first()).toBeVisible();
  await photograph(page, "first-run");
  await page.goto("/training");
  await page.waitForTimeout(500);
  await photograph(page, "training-empty");
});

test("states", async ({ page, request }) => {
  await tell("fill");
  const sample = await readySample(request, SMALL_SAMPLE);
  const chatty = await readySample(request, "modelyard-samples/tiny-llama");
  const all = await rows(request);
  const idOf = (name: string) => all.find((row) => row.model_id === `pictures/${name}`)?.id ?? "";
  const trainings = (
    (await (await request.get("/api/v1/trainings")).json()) as { items: { id: string; status: string }[] }
  ).items;
  const states: State[] = [
    ...["ready", "active", "attention", "outdated"].map((group) => ({
      name: `models-${group}`,
      path: `/models?status=${group}`,
      ready: (page: Page) => expect(page.getByRole("article").first()).toBeVisible(),
      tall: true,
    })),
    { name: "models-all", path: "/models", ready: (page) => page.getByRole("article").first().hover() },
    {
      name: "models-none-match",
      path: "/models?q=nothing",
      ready: (page) => expect(page.getByText("No model matches")).toBeVisible(),
    },
    {
      name: "hub",
      path: "/models?view=hub",
      ready: (page) => expect(page.getByText("tiny-llama").first()).toBeVisible(),
    },
    {
      name: "form",
      path: "/models?download=modelyard-samples/tiny-llama",
      ready: (page) =>
        expect(page.getByText(/^(Exact|Approximate|The weights are exact)/)).toBeVisible({ timeout: 30_000 }),
    },
    {
      name: "form-unknown-model",
      path: "/models?download=nobody/nothing",
      ready: (page) => expect(page.getByText("Model nobody/nothing not found on this Hub")).toBeVisible(),
    },
    {
      name: "add-local",
      path: "/models?add",
      ready: (page) => expect(page.getByRole("textbox", { name: "Folder" })).toBeVisible(),
    },
    ...["overview", "card", "architecture", "files", "training", "history", "try"].map((tab) => ({
      name: `model-${tab}`,
      tall: tab === "overview",
      path: `/models/${sample}?tab=${tab}`,
      ready: async (page: Page) => {
        await expect(page.getByRole("tab").first()).toBeVisible();
        await page.waitForTimeout(tab === "architecture" ? 8000 : 1000);
      },
    })),
    {
      name: "chat",
      path: `/models/${chatty}?tab=try`,
      ready: async (page) => {
        await page.getByRole("textbox", { name: "Message" }).fill("What is a tensor?");
        await page.keyboard.press("Enter");
        await expect(page.getByText(/first token after/)).toBeVisible({ timeout: 60_000 });
      },
    },
    ...["Failed-disk_full", "Downloading", "Loaded-4bit", "Newer-on-the-Hub", "Gated-custom-code", "Missing"].map(
      (name) => ({
        name: `model-${name.toLowerCase()}`,
        path: `/models/${idOf(name)}`,
        ready: (page: Page) => expect(page.getByRole("tab").first()).toBeVisible(),
      }),
    ),
    {
      name: "tray",
      path: "/models",
      ready: (page) => page.getByRole("button", { name: /downloads under way/ }).click(),
    },
    {
      name: "delete",
      path: `/models?q=Loaded`,
      ready: async (page) => {
        await page
          .getByRole("button", { name: /^More actions for .*, / })
          .first()
          .click();
        await page.getByRole("menuitem", { name: /Delete/ }).click();
        await expect(page.getByRole("dialog")).toBeVisible();
      },
    },
    {
      name: "bulk",
      path: "/models?status=ready",
      ready: select,
    },
    {
      name: "bulk-delete",
      path: "/models?status=ready",
      ready: async (page) => {
        await select(page);
        await page
          .getByRole("button", { name: /^Delete/ })
          .first()
          .click();
        await expect(page.getByRole("dialog")).toBeVisible();
      },
    },
    {
      name: "quantize",
      path: "/models?q=tiny-gpt2",
      ready: async (page) => {
        await page
          .getByRole("button", { name: /^More actions for .*, / })
          .first()
          .click();
        await page
          .getByRole("menuitem", { name: /Quantize/ })
          .first()
          .click();
        await expect(page.getByRole("dialog")).toBeVisible();
        await page.waitForTimeout(1500);
      },
    },
    { name: "settings", tall: true, path: "/settings", ready: (page) => page.waitForTimeout(1500) },
    { name: "trainings", path: "/training", ready: (page) => page.waitForTimeout(1500) },
    {
      name: "training-new",
      tall: true,
      path: `/training/new?model=${sample}`,
      ready: (page) => page.waitForTimeout(8000),
    },
    ...trainings.map((run) => ({
      name: `training-${run.status}`,
      path: `/training/${run.id}`,
      tall: true,
      ready: (page: Page) => page.waitForTimeout(1500),
    })),
    {
      name: "training-delete",
      path: `/training/${trainings.find((run) => run.status === "completed")?.id ?? ""}`,
      ready: async (page) => {
        await page.getByRole("button", { name: "Delete…" }).click();
        await expect(page.getByRole("dialog")).toBeVisible();
      },
    },
    { name: "not-found", path: "/nowhere", ready: (page) => expect(page.getByRole("heading").first()).toBeVisible() },
  ];
  for (const { name, path, ready, tall } of states.filter((state) => only.test(state.name))) {
    await test.step(name, async () => {
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.goto(path);
      try {
        await ready(page);
      } catch (error) {
        // Still worth a look: the picture shows what is there instead.
        console.log(`${name}: ${String(error).split("\n")[0]}`);
      }
      await photograph(page, name, tall);
    });
  }
});

test("what is still to come", async ({ page }) => {
  await page.route("**/api/v1/**", () => undefined); // never answered
  for (const path of ["models", "models?view=hub", "training", "settings", "models/1", "training/1"]) {
    await page.goto(`/${path}`);
    await page.waitForTimeout(800);
    await photograph(page, `loading-${path.replace(/\W/g, "-")}`);
  }
});

test("what fails", async ({ page }) => {
  const problem = {
    code: "internal_error",
    title: "Error",
    status: 500,
    detail: "The database is locked.",
    hint: "Try again.",
  };
  for (const [part, path] of [
    ["models?**", "models"],
    ["models/search**", "models?view=hub"],
    ["trainings**", "training"],
    ["settings", "settings"],
    ["system", "settings"],
  ] as const) {
    await page.route(`**/api/v1/${part}`, (route) =>
      route.fulfill({ status: 500, contentType: "application/problem+json", body: JSON.stringify(problem) }),
    );
    await page.goto(`/${path}`);
    await page.waitForTimeout(1500);
    await photograph(page, `failed-${part.replace(/\W/g, "-")}`);
    await page.unroute(`**/api/v1/${part}`);
  }
});

test("a server that asks for its key", async ({ page }) => {
  const problem = {
    code: "unauthorized",
    title: "Unauthorized",
    status: 401,
    detail: "The key is missing.",
    hint: null,
  };
  await page.route("**/api/v1/**", (route) =>
    route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify(problem) }),
  );
  await page.goto("/models");
  await page.waitForTimeout(1000);
  await photograph(page, "sign-in");
});

test("a server that is gone", async ({ page }) => {
  await page.goto("/models");
  await expect(page.getByRole("article").first()).toBeVisible();
  await tell("stop the server");
  await expect(page.getByRole("alert").first()).toBeVisible();
  await photograph(page, "server-gone");
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.getByRole("link", { name: "Settings" }).first().click();
  await photograph(page, "server-gone-settings");
});
