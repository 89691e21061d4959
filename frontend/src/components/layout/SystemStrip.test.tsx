import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { loadedModel, system } from "../../test/fixtures";
import { expectAccessible, renderPage } from "../../test/render";
import { SystemStrip } from "./SystemStrip";

beforeEach(() => useSystemStore.setState({ system: system(), loaded: [], error: null }));

const strip = () => screen.getByRole("region", { name: "This server" });

it("tells what is free and counts a model once, however often it is loaded", async () => {
  useSystemStore.setState({ loaded: [loadedModel(), loadedModel({ dtype: "float32" })] });
  renderPage(<SystemStrip />, "/training");
  expect(strip()).toHaveTextContent("Memory20.0 GB freeDisk200 GB freeLoaded1 model");
  await expectAccessible();
});

it("marks its figures as heard before while the server is away", () => {
  useModelsStore.setState({ conn: "stale", lastAt: Date.now() });
  renderPage(<SystemStrip />, "/training");
  expect(screen.getAllByRole("img", { name: /^As of .*, when the server last answered$/ })).toHaveLength(3);
  useModelsStore.setState({ conn: "connecting", lastAt: 0 });
});

it("does not call unknown what is none", () => {
  useSystemStore.setState({ loaded: null });
  renderPage(<SystemStrip />, "/training");
  expect(strip()).toHaveTextContent("Loadedunknown");
});

it("says that the machine could not be read, and asks again", async () => {
  useSystemStore.setState({ system: null, error: { code: "internal_error", message: "No.", hint: null } });
  renderPage(<SystemStrip />, "/training");
  expect(strip()).toHaveTextContent("System information is not available.");
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByText("20.0 GB free")).toBeVisible();
});

it("leaves memory and disk to the list of models, where they stand already", () => {
  renderPage(<SystemStrip />, "/models");
  expect(strip()).toHaveTextContent(/^Loadedno model/);
});
