import { expect, test } from "@playwright/test";
import { expectAccessible } from "./helpers";

test("the API's documentation shows every path and asks nobody else for anything", async ({
  page,
  baseURL,
  request,
}) => {
  const failures: string[] = [];
  const elsewhere: string[] = [];
  page.on("pageerror", (error) => failures.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") failures.push(message.text());
  });
  page.on("request", (sent) => {
    if (!sent.url().startsWith(baseURL ?? "") && !sent.url().startsWith("data:")) elsewhere.push(sent.url());
  });
  await page.goto("/docs");
  await expect(page).toHaveTitle("API · Modelyard");
  // Its fonts come with the page, and its policy lets them.
  for (const font of ["14px Inter", "14px 'JetBrains Mono'"])
    expect(await page.evaluate(async (name) => (await document.fonts.load(name)).length, font), font).toBe(1);
  const description = (await (await request.get("/openapi.json")).json()) as { paths: Record<string, object> };
  const operations = Object.values(description.paths).reduce((sum, path) => sum + Object.keys(path).length, 0);
  await expect(page.locator(".opblock")).toHaveCount(operations);

  await page.locator(".opblock").filter({ hasText: "/api/v1/system" }).locator(".opblock-summary").click();
  await page.getByRole("button", { name: "Execute" }).click();
  await expect(page.locator(".live-responses-table tbody .response-col_status")).toHaveText("200");
  expect(failures).toEqual([]);
  expect(elsewhere).toEqual([]);
});

test("it is reached from the settings, looks as they do, and leads back", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto("/settings");
  await page.getByRole("button", { name: "Use dark colours" }).click();
  const bar = await page.getByRole("banner").evaluate((element) => getComputedStyle(element).backgroundColor);
  await page.getByRole("link", { name: "Open the API documentation" }).click();
  await expect(page).toHaveURL(/\/docs$/);
  await expect(page.getByRole("banner")).toHaveCSS("background-color", bar);
  await page.getByRole("link", { name: "Back to Modelyard" }).click();
  await expect(page).toHaveURL(/\/settings#api$/);
  await expect(page.getByRole("region", { name: "API" })).toBeInViewport();
});

test("a call of each method and the schemas, opened, are accessible in both schemes", async ({ page }) => {
  test.setTimeout(240_000);
  await page.goto("/docs");
  for (const method of ["get", "post", "put", "delete"]) {
    await page.locator(`.opblock-${method} .opblock-summary`).first().click();
    await expect(page.locator(`.opblock-${method} .responses-table`).first()).toBeVisible();
  }
  await page.getByRole("button", { name: "Schemas" }).click();
  await expect(page.getByRole("button", { name: "Expand all" }).first()).toBeVisible();
  await page.getByRole("button", { name: "Execute" }).first().click();
  await expect(page.locator(".live-responses-table tbody .response-col_status").first()).toBeVisible();
  await expectAccessible(page);
});
