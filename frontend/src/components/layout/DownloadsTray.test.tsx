import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { applyList, applyModel } from "../../stores/applyEvents";
import { useFinishedStore } from "../../stores/finishedStore";
import { useModelsStore } from "../../stores/modelsStore";
import { downloading, model } from "../../test/fixtures";
import { api, http, HttpResponse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
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
  expect(within(tray).getByText(/Nothing is being downloaded/)).toBeVisible();
});
