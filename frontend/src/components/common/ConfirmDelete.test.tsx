import { act, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { doNow } from "../../lib/later";
import { applyList, applyModel } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { model, problem } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { DeletionReport } from "../../types/model";
import { ConfirmDelete } from "./ConfirmDelete";

const plan: DeletionReport = {
  freed_bytes: 1_200_000_000,
  kept_bytes: 300_000_000,
  kept_because: [{ bytes: 300_000_000, reason: "another revision uses them" }],
  original_bytes: 0,
  shared_cache: false,
  used_by: [],
};

function show(report: DeletionReport) {
  const asked: string[] = [];
  server.use(
    http.delete(api("/models/m1"), ({ request }) => {
      asked.push(new URL(request.url).search);
      return HttpResponse.json(report);
    }),
  );
  const onClose = vi.fn();
  renderPage(<ConfirmDelete model={model()} onClose={onClose} />);
  return { asked, onClose };
}

it("says what is freed and kept before it deletes", async () => {
  const { asked, onClose } = show(plan);
  expect(await screen.findByText("1.20 GB")).toBeVisible();
  expect(screen.getByText("300 MB: another revision uses them")).toBeVisible();
  expect(asked).toEqual(["?dry_run=true"]);
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Delete and free 1.20 GB" }));
  expect(onClose).toHaveBeenCalled();
  act(doNow);
  await waitFor(() => expect(asked).toEqual(["?dry_run=true", ""]));
});

it("asks again for files of the shared cache", async () => {
  const { asked } = show({ ...plan, shared_cache: true });
  const button = await screen.findByRole("button", { name: /^Delete and free/ });
  expect(button).toBeDisabled();
  await userEvent.click(screen.getByRole("checkbox", { name: /shared Hugging Face cache/ }));
  await userEvent.click(button);
  act(doNow);
  await waitFor(() => expect(asked).toEqual(["?dry_run=true", "?confirm_shared=true"]));
});

it("names the adapters that have no base then", async () => {
  show({ ...plan, adapters: ["lab/lora", "lab/other"] });
  expect(await screen.findByText("lab/lora, lab/other")).toBeVisible();
  expect(screen.getByText(/These adapters lose their base model/)).toBeVisible();
});

it("does not delete what is in use", async () => {
  show({ ...plan, used_by: [{ kind: "training", id: "t1", name: "in use by the training run t1 on model.layers.8" }] });
  expect(await screen.findByRole("link", { name: "In use by the training run t1 on model.layers.8" })).toHaveAttribute(
    "href",
    "/training/t1",
  );
  expect(screen.getByText("It can be deleted when that has ended.")).toBeVisible();
  expect(screen.getByRole("button", { name: /^Delete/ })).toBeDisabled();
});

it("unloads what is in memory, and can delete it then", async () => {
  const used_by = [{ kind: "loaded" as const, id: "w", name: "loaded on cpu of lab" }];
  const row = model({ status: "missing", loaded: true, used_by });
  let now = row;
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, [row]));
  server.use(
    http.delete(api("/models/m1"), () => HttpResponse.json({ ...plan, used_by: now.used_by })),
    http.post(api("/models/m1/unload"), () => HttpResponse.json(row, { status: 202 })),
  );
  renderPage(<ConfirmDelete model={row} onClose={vi.fn()} />);
  expect(await screen.findByText("Loaded on cpu of lab")).toBeVisible();
  expect(screen.getByText("It can be deleted once it is unloaded.")).toBeVisible();
  expect(screen.getByRole("button", { name: /^Delete/ })).toBeDisabled();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Unload" }));
  expect(await screen.findByRole("button", { name: "Unloading" })).toBeDisabled();
  now = { ...row, loaded: false, used_by: [] };
  act(() => useModelsStore.setState((state) => applyModel(state, now)));
  await waitFor(() => expect(screen.getByRole("button", { name: "Delete and free 1.20 GB" })).toBeEnabled());
  expect(screen.queryByText("Loaded on cpu of lab")).toBeNull();
  act(() => useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {} }));
});

it("says why nothing was deleted", async () => {
  show(plan);
  const button = await screen.findByRole("button", { name: /^Delete and free/ });
  server.use(http.delete(api("/models/m1"), () => refuse(problem(409, "conflict", "It is still being worked on."))));
  await userEvent.click(button);
  act(doNow);
  expect(await screen.findByText(/It is still being worked on/)).toBeVisible();
});

it("deletes nothing where it is taken back within ten seconds", async () => {
  const row = model();
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, [row]));
  const { asked } = show(plan);
  await userEvent.click(await screen.findByRole("button", { name: /^Delete and free/ }));
  expect(useModelsStore.getState().pending["m1"]?.op).toBe("delete");
  await userEvent.click(await screen.findByRole("button", { name: "Undo" }));
  expect(useModelsStore.getState().pending["m1"]).toBeUndefined();
  act(doNow);
  expect(asked).toEqual(["?dry_run=true"]);
  act(() => useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {} }));
});

it("deletes when the page is left", async () => {
  const { asked } = show(plan);
  await userEvent.click(await screen.findByRole("button", { name: /^Delete and free/ }));
  act(() => void window.dispatchEvent(new Event("pagehide")));
  await waitFor(() => expect(asked).toEqual(["?dry_run=true", ""]));
});

it("offers the original files that only quantized copies keep, with their true bytes", async () => {
  const asked: string[] = [];
  const kept = {
    bytes: 269_000_000,
    reason: "kept as the original of the quantized copy (4bit), which runs without it",
  };
  server.use(
    http.delete(api("/models/m1"), ({ request }) => {
      const { search, searchParams } = new URL(request.url);
      asked.push(search);
      return HttpResponse.json(
        searchParams.has("with_original")
          ? { ...plan, freed_bytes: 269_000_000, kept_bytes: 0, kept_because: [] }
          : { ...plan, freed_bytes: 0, kept_bytes: 269_000_000, kept_because: [kept], original_bytes: 269_000_000 },
      );
    }),
  );
  const onClose = vi.fn();
  renderPage(<ConfirmDelete model={model()} onClose={onClose} />);
  await waitFor(() => expect(screen.getByRole("button", { name: "Delete" })).toBeEnabled());
  await userEvent.click(screen.getByRole("checkbox", { name: "Also remove the original files, 269 MB" }));
  await expectAccessible();
  await userEvent.click(await screen.findByRole("button", { name: "Delete and free 269 MB" }));
  expect(onClose).toHaveBeenCalled();
  act(doNow);
  await waitFor(() =>
    expect(asked).toEqual(["?dry_run=true", "?dry_run=true&with_original=true", "?with_original=true"]),
  );
});

it("removes the original alone, and the copy stays", async () => {
  const asked: string[] = [];
  server.use(
    http.post(api("/models/m1/drop-original"), ({ request }) => {
      asked.push(new URL(request.url).search);
      return HttpResponse.json({ ...plan, freed_bytes: 269_000_000, kept_bytes: 0, kept_because: [] });
    }),
  );
  const copy = model({ quantization: "4bit" });
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, [copy]));
  renderPage(<ConfirmDelete model={copy} originalOnly onClose={vi.fn()} />);
  await userEvent.click(await screen.findByRole("button", { name: "Remove and free 269 MB" }));
  act(doNow);
  expect(await screen.findByText(/The original of .* was removed/)).toBeVisible();
  expect(asked).toEqual(["?dry_run=true", ""]);
  expect(useModelsStore.getState().byId["m1"]).toBeDefined();
  act(() => useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {} }));
});
