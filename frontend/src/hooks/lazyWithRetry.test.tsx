import { render, screen } from "@testing-library/react";
import { Component, Suspense } from "react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { useModelsStore } from "../stores/modelsStore";
import { lazyWithRetry } from "./lazyWithRetry";

beforeEach(() => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  useModelsStore.setState({ conn: "live" });
});

afterEach(() => {
  vi.useRealTimers();
  useModelsStore.setState({ conn: "connecting" });
});

class Caught extends Component<{ children: React.ReactNode }, { failed: boolean }> {
  override state = { failed: false };
  static getDerivedStateFromError = () => ({ failed: true });
  override render() {
    return this.state.failed ? <p>failed</p> : this.props.children;
  }
}

function show(load: () => Promise<{ default: () => React.ReactNode }>) {
  const Part = lazyWithRetry(load);
  render(
    <Caught>
      <Suspense fallback={<p>waiting</p>}>
        <Part />
      </Suspense>
    </Caught>,
  );
}

it("waits for a server that is away and goes on once it is back", async () => {
  useModelsStore.setState({ conn: "stale" });
  const load = vi
    .fn()
    .mockRejectedValueOnce(new Error("no answer"))
    .mockResolvedValue({ default: () => <p>here</p> });
  show(load);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(screen.getByText("waiting")).toBeVisible();
  expect(load).toHaveBeenCalledTimes(1);
  useModelsStore.setState({ conn: "live" });
  expect(await screen.findByText("here")).toBeVisible();
});

it("gives up where the server is there and has no such part", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  const load = vi.fn().mockRejectedValue(new Error("not found"));
  show(load);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(await screen.findByText("failed")).toBeVisible();
  expect(load).toHaveBeenCalledTimes(3);
});
