import { screen } from "@testing-library/react";
import { expect, it } from "vitest";
import { useSystemStore } from "../../stores/systemStore";
import { model, system } from "../../test/fixtures";
import { expectAccessible, renderPage } from "../../test/render";
import { ReadyActions } from "../models/details/ModelActions";
import { FirstRun } from "../models/list/FirstRun";
import { About } from "../settings/About";
import { TorchMissing } from "./TorchMissing";

const TORCH = {
  extra: "torch",
  needed_for: "Loading needs it.",
  install: "/opt/my/bin/python -m pip install 'modelyard[torch]'",
};

it("says what to install where nothing loads models", async () => {
  useSystemStore.setState({ system: system({ extras: { torch: false, sae: false }, missing: [TORCH] }) });
  renderPage(<TorchMissing />);
  expect(screen.getByRole("alert", { name: "modelyard[torch] is not installed" })).toHaveTextContent(
    "Loading needs it. Install it where the server runs, then start the server again. Downloads work without it.",
  );
  expect(screen.getByText(TORCH.install)).toBeVisible();
  await expectAccessible();
});

it.each([
  ["torch is installed", system()],
  ["a worker elsewhere has it", system({ missing: [TORCH] })],
])("says nothing where %s", (_, known) => {
  useSystemStore.setState({ system: known });
  renderPage(<TorchMissing />);
  expect(screen.queryByRole("alert")).toBeNull();
});

it("disables what loads a model, with the reason and the command", async () => {
  useSystemStore.setState({ system: system({ extras: { torch: false, sae: false }, missing: [TORCH] }) });
  renderPage(
    <ReadyActions model={model()} live={undefined} pending={undefined} onAction={() => undefined} onTry={undefined} />,
  );
  for (const name of ["Load", "Quantize…", "Compare…"]) {
    const button = screen.getByRole("button", { name });
    expect(button).toBeDisabled();
    expect(button).toHaveAttribute("title", `modelyard[torch] is not installed. Run: ${TORCH.install}`);
  }
  expect(screen.getByRole("button", { name: "Verify the files" })).toBeEnabled();
  await expectAccessible();
});

it("offers no samples where they cannot be made", () => {
  const hub = { ...system().hub, reachable: false, reason: "No route to host." };
  useSystemStore.setState({ system: system({ extras: { torch: false, sae: false }, missing: [TORCH], hub }) });
  renderPage(<FirstRun onStart={() => undefined} />);
  expect(screen.getByRole("button", { name: "Try again" })).toBeVisible();
  expect(screen.queryByRole("button", { name: "Use the built-in sample Hub" })).toBeNull();
  expect(screen.queryByText(/sample Hub/)).toBeNull();
});

it("lists what is not installed in the settings", async () => {
  renderPage(<About system={system({ missing: [TORCH] })} />);
  expect(screen.getByRole("heading", { name: "Not installed" })).toBeVisible();
  expect(screen.getByText(TORCH.install)).toBeVisible();
  await expectAccessible();
});
