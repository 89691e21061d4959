import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { applyList, applyModel } from "../../../stores/applyEvents";
import { useFinishedStore } from "../../../stores/finishedStore";
import { useModelsStore } from "../../../stores/modelsStore";
import { downloading, model, outOfRoom, progress } from "../../../test/fixtures";
import { api, http, HttpResponse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { DownloadsTray } from "./DownloadsTray";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };

beforeEach(() => {
  useModelsStore.setState({
    ...applyList(EMPTY, [downloading({ id: "a", model_id: "lab/one" }), downloading({ id: "b", model_id: "lab/two" })]),
    load: { state: "ready" },
    conn: "live",
  });
  useFinishedStore.getState().clear();
});

const put = (row: ReturnType<typeof model>) => useModelsStore.setState((state) => applyModel(state, row));

async function open() {
  renderPage(<DownloadsTray />);
  await userEvent.click(screen.getByRole("button", { name: /under way|Downloads/ }));
  return screen.findByRole("dialog", { name: "Downloads" });
}

it("pauses all that is under way", async () => {
  const paused: string[] = [];
  server.use(
    http.post(api("/models/:id/pause"), ({ params }) => {
      paused.push(String(params.id));
      return HttpResponse.json(downloading({ id: String(params.id), status: "paused" }));
    }),
  );
  const tray = await open();
  await userEvent.click(within(tray).getByRole("button", { name: "Pause all" }));
  await waitFor(() => expect(paused.toSorted()).toEqual(["a", "b"]));
  expect(await within(tray).findByRole("button", { name: "Resume all" })).toBeVisible();
});

it("keeps what ended in sight, with the way on, until it is cleared", async () => {
  const tray = await open();
  const error = { code: "hub_unreachable", message: "The Hub does not answer.", hint: "Retry." };
  put(model({ id: "a", model_id: "lab/one" }));
  put(downloading({ id: "b", model_id: "lab/two", status: "failed", error }));
  expect(await within(tray).findByText("Ready")).toBeVisible();
  expect(within(tray).getByText("The Hub does not answer.")).toBeVisible();
  expect(within(tray).getByRole("button", { name: "Retry two" })).toBeVisible();
  await expectAccessible(tray);
  await userEvent.click(within(tray).getByRole("button", { name: "Clear finished" }));
  expect(within(tray).getByText(/No downloads/)).toBeVisible();
});

function cancels(): string[] {
  const sent: string[] = [];
  server.use(
    http.post(api("/models/:id/:action"), ({ params }) => {
      sent.push(`${String(params.id)} ${String(params.action)}`);
      return HttpResponse.json(downloading({ id: String(params.id), status: "paused" }));
    }),
  );
  return sent;
}

it("stops a check without a question, because that takes nothing away", async () => {
  const user = userEvent.setup();
  const sent = cancels();
  put(
    downloading({
      id: "a",
      model_id: "lab/one",
      progress: progress({ work: "verify", phase: "verifying" }),
      updated_at: "x",
    }),
  );
  const tray = await open();
  await user.click(within(tray).getByRole("button", { name: "Cancel one" }));
  await waitFor(() => expect(sent).toEqual(["a cancel"]));
});

it("asks before it discards what was fetched, and keeps it on Escape", async () => {
  const user = userEvent.setup();
  const sent = cancels();
  const tray = await open();
  const cancel = within(tray).getByRole("button", { name: "Cancel one" });
  await user.click(cancel);
  const question = within(tray).getByRole("group", { name: "Cancel one" });
  expect(within(question).getByRole("button", { name: "Pause instead" })).toHaveFocus();
  await expectAccessible(tray);
  await user.keyboard("{Escape}");
  expect(within(tray).queryByRole("group")).toBeNull();
  expect(cancel).toHaveFocus();
  expect(sent).toEqual([]);

  await user.click(cancel);
  await user.click(within(tray).getByRole("button", { name: "Discard 400 MB" }));
  await waitFor(() => expect(sent).toEqual(["a cancel"]));
  expect(tray).toHaveFocus();
  await user.keyboard("{Escape}");
  await waitFor(() => expect(tray).not.toBeInTheDocument());
});

it("offers to pause instead where that can be, else to keep it", async () => {
  const user = userEvent.setup();
  const sent = cancels();
  put(downloading({ id: "b", model_id: "lab/two", status: "paused" }));
  const tray = await open();
  await user.click(within(tray).getByRole("button", { name: "Cancel two" }));
  await user.click(within(tray).getByRole("button", { name: "Keep it" }));
  expect(within(tray).queryByRole("group")).toBeNull();
  await user.click(within(tray).getByRole("button", { name: "Cancel one" }));
  await user.click(within(tray).getByRole("button", { name: "Pause instead" }));
  await waitFor(() => expect(sent).toEqual(["a pause"]));
});

it("says why a download waits, how to make room, and offers no resuming that cannot work", async () => {
  put(outOfRoom({ id: "a", model_id: "lab/one" }));
  const tray = await open();
  expect(within(tray).getByText("Paused: disk full")).toBeVisible();
  expect(within(tray).getByText(/^The disk is full. .* It resumes when there is room.$/)).toBeVisible();
  expect(within(tray).getByRole("link", { name: "Show the largest models" })).toBeVisible();
  expect(within(tray).queryByRole("button", { name: "Resume one" })).toBeNull();
  await expectAccessible(tray);
});

it("offers no more than to pause while the server is away", async () => {
  put(downloading({ id: "b", model_id: "lab/two", status: "paused" }));
  const tray = await open();
  act(() => useModelsStore.setState({ conn: "stale" }));
  for (const name of ["Cancel one", "Cancel two", "Resume two"])
    expect(within(tray).getByRole("button", { name })).toBeDisabled();
  expect(within(tray).getByRole("button", { name: "Pause one" }), "its failure tells").toBeEnabled();
});

it("keeps no rate of workers that have fallen silent", () => {
  vi.useFakeTimers();
  put(downloading({ id: "a", model_id: "lab/one", updated_at: "later" }));
  renderPage(<DownloadsTray />);
  const chip = screen.getByRole("button", { name: /2 downloads under way$/ });
  expect(chip).toHaveTextContent("MB/s");
  act(() => {
    vi.advanceTimersByTime(5_100);
  });
  expect(chip).not.toHaveTextContent("MB/s");
  vi.useRealTimers();
});

it("cancels at once what has nothing to lose", async () => {
  const sent = cancels();
  put(downloading({ id: "a", model_id: "lab/one", status: "pending", progress: progress({ bytes_done: 0 }) }));
  const tray = await open();
  await userEvent.click(within(tray).getByRole("button", { name: "Cancel one" }));
  await waitFor(() => expect(sent).toEqual(["a cancel"]));
});

it("tells how long only when all that goes on can tell, and that the figures are old", () => {
  renderPage(<DownloadsTray />);
  const chip = screen.getByRole("button", { name: /2 downloads under way$/ });
  expect(chip).toHaveTextContent("100 MB/s · 24 s left");
  const waiting = { id: "b", model_id: "lab/two", progress: progress({ bytes_per_second: null, eta_seconds: null }) };
  act(() => put(downloading({ ...waiting, status: "pending" })));
  expect(chip).toHaveTextContent(/50.0 MB\/s$/);
  act(() => put(downloading({ ...waiting, status: "paused" })));
  expect(chip).toHaveTextContent("50.0 MB/s · 24 s left");
  act(() => useModelsStore.setState({ conn: "stale" }));
  expect(chip).toHaveAccessibleName("2 downloads under way (last known)");
  expect(chip).not.toHaveTextContent("MB/s");
});
