import { act, renderHook, waitFor } from "@testing-library/react";
import { beforeEach, expect, it, vi } from "vitest";
import { ApiError, unreachable } from "../lib/apiError";
import { useModelsStore } from "../stores/modelsStore";
import { useResource } from "./useResource";

beforeEach(() => useModelsStore.setState({ conn: "stale" }));

it("asks again for what a server that was gone could not answer, once it is back", async () => {
  let there = false;
  const fetcher = () => (there ? Promise.resolve("the settings") : Promise.reject(unreachable("Gone.")));
  const { result } = renderHook(() => useResource("settings", fetcher));
  await waitFor(() => expect(result.current.problem?.code).toBe("server_unreachable"));
  there = true;
  act(() => useModelsStore.setState({ conn: "live" }));
  await waitFor(() => expect(result.current.data).toBe("the settings"));
});

it("asks for nothing else again", async () => {
  let asked = 0;
  const fetcher = () => {
    asked += 1;
    return Promise.reject(new Error("The disk is full."));
  };
  const { result } = renderHook(() => useResource("settings", fetcher));
  await waitFor(() => expect(result.current.problem?.message).toBe("The disk is full."));
  act(() => useModelsStore.setState({ conn: "live" }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(asked).toBe(1);
});

it("asks again every two seconds while the server has no database", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  try {
    let asked = 0;
    const fetcher = () => {
      asked += 1;
      return asked < 3
        ? Promise.reject(
            new ApiError({ status: 503, code: "database_unavailable", detail: "The database does not answer." }),
          )
        : Promise.resolve("the settings");
    };
    const { result } = renderHook(() => useResource("settings", fetcher));
    await waitFor(() => expect(result.current.problem?.code).toBe("database_unavailable"));
    expect(asked).toBe(1);
    await act(() => vi.advanceTimersByTimeAsync(2_000));
    expect(asked).toBe(2);
    await act(() => vi.advanceTimersByTimeAsync(2_000));
    await waitFor(() => expect(result.current.data).toBe("the settings"));
    await act(() => vi.advanceTimersByTimeAsync(10_000));
    expect(asked).toBe(3);
  } finally {
    vi.useRealTimers();
  }
});
