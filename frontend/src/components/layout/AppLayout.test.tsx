import { screen } from "@testing-library/react";
import { lazy } from "react";
import { Route, Routes } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { useModelsStore } from "../../stores/modelsStore";
import { expectAccessible, renderPage } from "../../test/render";
import { AppLayout } from "./AppLayout";

const NeverThere = lazy(() => new Promise<{ default: () => null }>(() => undefined));

class SilentSocket {
  close = () => undefined;
}

beforeEach(() => {
  vi.stubGlobal("WebSocket", SilentSocket);
  useModelsStore.setState({ conn: "connecting" });
});

function show(path: string) {
  renderPage(
    <Routes>
      <Route element={<AppLayout />}>
        <Route path="*" element={<NeverThere />} />
      </Route>
    </Routes>,
    path,
  );
}

it("names the page that is being fetched, and says what it waits for while the server is away", async () => {
  show("/settings");
  expect(screen.getByRole("heading", { level: 1, name: "Settings" })).toBeVisible();
  expect(screen.getByRole("status", { name: "Loading" })).toBeInTheDocument();
  useModelsStore.setState({ conn: "stale" });
  expect(await screen.findByText("This page appears once the server answers.")).toBeVisible();
  expect(screen.queryByRole("status", { name: "Loading" })).toBeNull();
  await expectAccessible();
});

it("has no name for what is inside a page", () => {
  show("/training/t1");
  expect(screen.getByRole("heading", { level: 1, name: "Loading" })).toBeInTheDocument();
});
