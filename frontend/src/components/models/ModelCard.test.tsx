import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { downloading, model, progress } from "../../test/fixtures";
import { expectAccessible, renderPage } from "../../test/render";
import type { Pending } from "../../stores/applyEvents";
import type { Model } from "../../types/model";
import { ModelCard } from "./ModelCard";

function show(row: Model, pending?: Pending) {
  const onAction = vi.fn();
  const live = row.status === "downloading" && row.progress !== null ? { ...row, progress: row.progress } : undefined;
  renderPage(
    <ModelCard
      model={row}
      live={live}
      pending={pending}
      scale={undefined}
      href={`/models/${row.id}`}
      onAction={onAction}
      onPoint={() => undefined}
    />,
  );
  return onAction;
}

it("says what a ready model is and needs", async () => {
  show(model());
  const card = screen.getByRole("article");
  expect(within(card).getByRole("link", { name: "Qwen3-0.6B" })).toHaveAttribute("href", "/models/m1");
  for (const text of [
    "596 M params",
    "Qwen3ForCausalLM",
    "28 × 1024",
    "40,960 context",
    "1.19 GB",
    "1.50 GB",
    "exact",
    "Ready",
  ]) {
    expect(within(card).getByText(text)).toBeVisible();
  }
  await expectAccessible();
});

it("prefers the measured memory and never prints an unknown one as zero", () => {
  show(model({ memory_measured_bytes: 1_200_000_000 }));
  expect(screen.getByText("measured")).toBeVisible();
  show(model({ id: "m2", memory_estimated_bytes: null }));
  expect(screen.getByText("unknown")).toBeVisible();
});

it("tells a download as facts and offers to pause it", async () => {
  const row = downloading();
  const onAction = show(row);
  expect(screen.getByText("Downloading file 3 of 5")).toBeVisible();
  expect(screen.getByText("400 MB of 1.60 GB · 50.0 MB/s · 24 s left")).toBeVisible();
  expect(screen.getByRole("progressbar")).toHaveAttribute("aria-valuenow", "25");
  await userEvent.click(screen.getByRole("button", { name: "Pause Qwen3-0.6B" }));
  expect(onAction).toHaveBeenCalledWith(row, "pause");
  await expectAccessible();
});

it("locks the row while an action is on its way", () => {
  show(downloading(), { op: "pause", prev: "downloading" });
  expect(screen.getByRole("button", { name: "Pause Qwen3-0.6B" })).toBeDisabled();
  expect(screen.getAllByText("Pausing")).not.toHaveLength(0);
});

it("says a retry in the server's words", () => {
  show(downloading({ progress: progress({ phase: "retrying", message: "retrying in 4 s (connection reset)" }) }));
  expect(screen.getByText("retrying in 4 s (connection reset)")).toBeVisible();
});

it("names an error with its next step, and keeps the figures of a failed download out of the way", async () => {
  const row = downloading({
    status: "failed",
    error: { code: "gated_not_accepted", message: "The terms are not accepted.", hint: "Accept them." },
  });
  const onAction = show(row);
  expect(screen.getByText("The terms are not accepted. Accept them.")).toBeVisible();
  expect(screen.getByRole("link", { name: "Open the licence page" })).toHaveAttribute(
    "href",
    "https://huggingface.co/Qwen/Qwen3-0.6B",
  );
  expect(screen.queryByRole("progressbar")).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Retry Qwen3-0.6B" }));
  expect(onAction).toHaveBeenCalledWith(row, "resume");
});

it("copies the lines that load the model", async () => {
  const user = userEvent.setup();
  show(model({ revision: "v2" }));
  await user.click(screen.getByRole("button", { name: "Copy code for Qwen3-0.6B" }));
  expect(await navigator.clipboard.readText()).toContain(
    'from_pretrained("Qwen/Qwen3-0.6B", revision="v2", dtype="auto")',
  );
});

it("offers deletion in its menu only when nothing is under way", async () => {
  const onAction = show(model());
  await userEvent.click(screen.getByRole("button", { name: "More actions for Qwen3-0.6B" }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Delete…" }));
  expect(onAction).toHaveBeenCalledWith(expect.objectContaining({ id: "m1" }), "delete");
});
