import { expect, test } from "@playwright/test";

/** BASE_URL ends in the path of a reverse proxy, which the server may or may not be told of. */
test("the page works below the path of a reverse proxy", async ({ page, request, baseURL }) => {
  const base = baseURL ?? "";
  const elsewhere: string[] = [];
  page.on("request", (sent) => {
    if (!sent.url().startsWith(base) && !sent.url().startsWith("data:")) elsewhere.push(sent.url());
  });
  const sockets: string[] = [];
  page.on("websocket", (socket) => sockets.push(socket.url()));

  await page.goto(base);
  await expect(page).toHaveURL(`${base}models`);
  await expect(page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Settings" })).toBeVisible();
  await expect.poll(() => sockets).toEqual([`${base.replace("http", "ws")}api/v1/events?batch=true`]);

  // A change that nobody asked this page about comes through its socket.
  const changed = await request.post(`${base}api/v1/models/download`, {
    data: { model_id: "modelyard-samples/tiny-gpt2" },
  });
  expect(changed.status()).toBe(202);
  await expect(page.getByText("tiny-gpt2").first()).toBeVisible({ timeout: 30_000 });

  // A part that is fetched on first use, and its own address opened directly.
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Settings" }).click();
  await expect(page).toHaveURL(`${base}settings`);
  await page.reload();
  await expect(page.getByRole("heading", { name: "Settings" })).toBeVisible();
  await page.goto(`${base}training/new`);
  await expect(page.getByRole("navigation", { name: "Main" })).toBeVisible();
  await page.keyboard.press("Tab");
  await page.getByRole("link", { name: "Skip to content" }).press("Enter");
  await expect(page).toHaveURL(`${base}training/new#main`);

  await page.goto(`${base}docs`);
  await expect(page.getByText("/api/v1/models/download").first()).toBeVisible();
  expect(elsewhere).toEqual([]);
});
