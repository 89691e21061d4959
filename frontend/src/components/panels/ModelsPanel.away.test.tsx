import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes } from "react-router";
import { expect, it, vi } from "vitest";
import { applyList } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { model, system } from "../../test/fixtures";
import { expectAccessible, renderPage } from "../../test/render";
import { ModelsPanel } from "./ModelsPanel";

// A part of the page that no server gives.
vi.mock("../models/DownloadDialog", () => new Promise(() => undefined));

it("says when the form appears that cannot be fetched, and marks what is shown as heard before", async () => {
  useSystemStore.setState({ system: system(), loaded: [], error: null });
  useModelsStore.setState({
    ...applyList({ byId: {}, ids: [], live: {}, pending: {} }, [model()]),
    load: { state: "ready" },
    conn: "stale",
    lastAt: Date.now(),
  });
  renderPage(
    <Routes>
      <Route path="models" element={<ModelsPanel />} />
    </Routes>,
  );
  expect(screen.getAllByRole("img", { name: /when the server last answered$/ })).toHaveLength(2);
  await userEvent.keyboard("n");
  const dialog = await screen.findByRole("dialog", { name: "Download a model" });
  expect(dialog).toHaveTextContent("Waiting for the server.");
  expect(dialog).toHaveTextContent("The server does not answer");
  await expectAccessible();
});
