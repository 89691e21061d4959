import { act, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { applyList, applyModel } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { downloading, model } from "../../test/fixtures";
import { api, http, HttpResponse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { Model } from "../../types/model";
import { ConfirmCancel } from "./ConfirmCancel";

function show(row: Model) {
  const sent: string[] = [];
  server.use(
    http.post(api("/models/m1/:action"), ({ params }) => {
      sent.push(String(params.action));
      return HttpResponse.json(row, { status: 202 });
    }),
  );
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, [row]));
  const onClose = vi.fn();
  renderPage(<ConfirmCancel id="m1" onClose={onClose} />);
  return { sent, onClose };
}

it("says what is lost, and offers to pause instead", async () => {
  const { sent, onClose } = show(downloading());
  expect(await screen.findByRole("button", { name: "Discard 400 MB" })).toBeVisible();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Pause instead" }));
  await waitFor(() => expect(sent).toEqual(["pause"]));
  expect(onClose).toHaveBeenCalled();
});

it("offers to keep what cannot be paused", async () => {
  const { sent, onClose } = show(downloading({ status: "quantizing" }));
  expect(await screen.findByRole("button", { name: "Stop quantizing" })).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Keep it" }));
  expect(onClose).toHaveBeenCalled();
  expect(sent).toEqual([]);
});

it("asks no more once the work has ended", async () => {
  const { onClose } = show(downloading());
  await screen.findByRole("button", { name: "Discard 400 MB" });
  expect(onClose).not.toHaveBeenCalled();
  act(() => useModelsStore.setState((state) => applyModel(state, model())));
  await waitFor(() => expect(onClose).toHaveBeenCalled());
});
