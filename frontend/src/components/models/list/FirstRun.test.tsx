import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { useSystemStore } from "../../../stores/systemStore";
import { system } from "../../../test/fixtures";
import { api, http, HttpResponse, server } from "../../../test/handlers";
import { renderPage } from "../../../test/render";
import { FirstRun } from "./FirstRun";

it("speaks of the token only where the Hub answers", async () => {
  const { hub } = system();
  useSystemStore.setState({ system: system({ hub: { ...hub, token: "unknown" } }), error: null });
  const { unmount } = renderPage(<FirstRun onStart={vi.fn()} />);
  expect(screen.getByRole("link", { name: "Check the token" })).toHaveAttribute("href", "/settings");
  unmount();
  const away = { ...hub, token: "unknown" as const, reachable: false, reason: "No route to it." };
  useSystemStore.setState({ system: system({ hub: away }) });
  renderPage(<FirstRun onStart={vi.fn()} />);
  expect(await screen.findByText("The Hub at https://huggingface.co does not answer")).toBeVisible();
  expect(screen.queryByRole("link", { name: "Check the token" })).toBeNull();
});

it("says what it does while it changes to the sample Hub", async () => {
  const { hub } = system();
  const away = system({ hub: { ...hub, reachable: false, reason: "No route to it." } });
  useSystemStore.setState({ system: away, error: null });
  let answer: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => (answer = resolve));
  server.use(
    http.put(api("/settings"), async () => {
      await waiting;
      return HttpResponse.json({});
    }),
    http.get(api("/system"), () => HttpResponse.json(away)),
  );
  renderPage(<FirstRun onStart={vi.fn()} />);
  await userEvent.click(screen.getByRole("button", { name: "Use the built-in sample Hub" }));
  expect(await screen.findByRole("button", { name: "Switching to the built-in sample Hub…" })).toBeDisabled();
  answer();
  expect(await screen.findByRole("button", { name: "Use the built-in sample Hub" })).toBeEnabled();
});
