import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { MemoryRouter } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { App } from "./App";
import { useModelsStore } from "./stores/modelsStore";
import { useSessionStore } from "./stores/sessionStore";
import { downloading, problem } from "./test/fixtures";
import { api, http, HttpResponse, page, refuse, server } from "./test/handlers";
import { expectAccessible } from "./test/render";

/** A socket that a proxy or a missing key closes at once. */
class ClosedSocket {
  onopen: (() => void) | null = null;
  onmessage: (() => void) | null = null;
  onclose: (() => void) | null = null;
  constructor() {
    queueMicrotask(() => this.onclose?.());
  }
  close = () => undefined;
}

beforeEach(() => {
  vi.stubGlobal("WebSocket", ClosedSocket);
  useSessionStore.setState({ needsKey: false });
  useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {}, load: { state: "idle" } });
});

function show(path: string) {
  render(
    <MemoryRouter initialEntries={[path]}>
      <App env="test" />
    </MemoryRouter>,
  );
}

it("asks for the key where the server wants one, then goes on", async () => {
  const user = userEvent.setup();
  let open = false;
  const guard = () => (open ? HttpResponse.json(page([])) : refuse(problem(401, "unauthorized", "A key is needed.")));
  server.use(
    http.get(api("/models"), guard),
    http.post(api("/session"), async ({ request }) => {
      const { api_key } = (await request.json()) as { api_key: string };
      if (api_key !== "right") return refuse(problem(401, "unauthorized", "That is not this server's key."));
      open = true;
      return new HttpResponse(null, { status: 204 });
    }),
  );
  show("/models");
  const field = await screen.findByLabelText(/Server key/);
  await expectAccessible();
  await user.type(field, "wrong{Enter}");
  expect(await screen.findByText("This is not the server's key.")).toBeVisible();
  await user.clear(field);
  await user.type(field, "right{Enter}");
  expect(await screen.findByRole("heading", { name: "Get a first model" })).toBeVisible();
});

it("tells in the title how far jobs are and lists them in the tray, on every page", async () => {
  server.use(http.get(api("/models"), () => HttpResponse.json(page([downloading()]))));
  show("/training");
  await waitFor(() => expect(document.title).toBe("25 % · Training · Modelyard"));
  await userEvent.click(screen.getByRole("button", { name: /1 download under way/ }));
  const tray = await screen.findByRole("dialog", { name: "Downloads" });
  expect(tray).toHaveTextContent("Downloading file 3 of 5");
  expect(screen.getByRole("button", { name: "Pause Qwen3-0.6B" })).toBeVisible();
  await expectAccessible();
});

it("says that it is reconnecting", async () => {
  show("/models");
  expect(await screen.findByText("Reconnecting")).toBeVisible();
  expect(screen.getByRole("alert")).toHaveTextContent("The server does not answer");
  expect(screen.getByRole("button", { name: "Try now" })).toBeVisible();
});

it("has every page at its own address", async () => {
  show("/settings");
  expect(await screen.findByRole("heading", { level: 1, name: "Settings" })).toBeVisible();
  expect(await screen.findByRole("radio", { name: "The Hugging Face Hub" })).toBeChecked();
  expect(screen.getByText(/1 GB is 10⁹ bytes/)).toBeVisible();
  await expectAccessible();
});

it("says when there is no such page", async () => {
  show("/nope");
  expect(await screen.findByRole("heading", { name: "There is no such page" })).toBeVisible();
});
