import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { useSessionStore } from "../../stores/sessionStore";
import { useSystemStore } from "../../stores/systemStore";
import { system } from "../../test/fixtures";
import { api, http, HttpResponse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import SettingsPanel from "./SettingsPanel";

beforeEach(() => {
  useSystemStore.setState({ system: system() });
  useSessionStore.setState({ needsKey: false });
});

const index = () => screen.findByRole("navigation", { name: "Sections" });

it("lists every section, and each link leads to its own", async () => {
  const user = userEvent.setup();
  renderPage(<SettingsPanel />, "/settings");
  const links = within(await index()).getAllByRole("link");
  const names = links.map(({ textContent }) => textContent);
  const headings = screen.getAllByRole("heading", { level: 2 }).map(({ textContent }) => textContent);
  expect(names).toEqual(headings);
  for (const link of links) {
    await user.click(link);
    expect(screen.getByRole("region", { name: link.textContent })).toHaveFocus();
  }
  await expectAccessible();
});

it("opens at the section that the address names", async () => {
  renderPage(<SettingsPanel />, "/settings#downloads");
  await waitFor(async () => expect(await screen.findByRole("region", { name: "Downloads" })).toHaveFocus());
});

it("leads to the API's documentation", async () => {
  renderPage(<SettingsPanel />, "/settings");
  const link = await screen.findByRole("link", { name: "Open the API documentation" });
  expect(link).toHaveAttribute("href", new URL("docs", document.baseURI).href);
});

it("signs out where a key is used, and nowhere else", async () => {
  const user = userEvent.setup();
  let asked = 0;
  server.use(
    http.delete(api("/session"), () => {
      asked += 1;
      return new HttpResponse(null, { status: 204 });
    }),
  );
  renderPage(<SettingsPanel />, "/settings");
  await index();
  expect(screen.queryByRole("button", { name: "Sign out" })).toBeNull();
  useSystemStore.setState({ system: system({ needs_key: true }) });
  await user.click(await screen.findByRole("button", { name: "Sign out" }));
  await waitFor(() => expect(useSessionStore.getState().needsKey).toBe(true));
  expect(asked).toBe(1);
});

it("stays signed in where the server cannot be told", async () => {
  const user = userEvent.setup();
  server.use(http.delete(api("/session"), () => HttpResponse.error()));
  useSystemStore.setState({ system: system({ needs_key: true }) });
  renderPage(<SettingsPanel />, "/settings");
  await user.click(await screen.findByRole("button", { name: "Sign out" }));
  expect(await screen.findByText("Could not sign out")).toBeVisible();
  expect(useSessionStore.getState().needsKey).toBe(false);
});
