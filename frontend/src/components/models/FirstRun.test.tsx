import { screen } from "@testing-library/react";
import { expect, it, vi } from "vitest";
import { useSystemStore } from "../../stores/systemStore";
import { system } from "../../test/fixtures";
import { renderPage } from "../../test/render";
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
