import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { applyList } from "../../../stores/applyEvents";
import { useModelsStore } from "../../../stores/modelsStore";
import { groupModels } from "../../../lib/groups";
import { doNow } from "../../../lib/later";
import { downloading, model, problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { DeletionPlanRequest, Model } from "../../../types/model";
import { BulkBar } from "./BulkBar";

const ONE = model({ id: "a", model_id: "gpt2" });
const FOUR = model({ id: "b", model_id: "gpt2", quantization: "4bit" });
const MOVING = downloading({ id: "c" });

function show(models: Model[]) {
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, models));
  renderPage(<BulkBar groups={groupModels(models)} onSelectAll={vi.fn()} onDone={vi.fn()} />);
}

it("counts what each action would touch", async () => {
  show([ONE, FOUR, MOVING]);
  for (const name of ["Verify 2", "Quantize 1", "Delete 2…"])
    expect(screen.getByRole("button", { name })).toBeEnabled();
  expect(screen.getByText("2 selected, 3 variants")).toBeVisible();
  await expectAccessible();
});

it("does what it can and names what was refused", async () => {
  server.use(
    http.post(api("/models/a/verify"), () => HttpResponse.json(ONE, { status: 202 })),
    http.post(api("/models/b/verify"), () =>
      refuse(problem(409, "conflict", "It is being quantized.", { hint: "Wait." })),
    ),
  );
  show([ONE, FOUR]);
  await userEvent.click(screen.getByRole("button", { name: "Verify 2" }));
  expect(await screen.findByText("1 of 2 not being verified")).toBeVisible();
  expect(screen.getByText("gpt2, 4-bit: It is being quantized. Wait.")).toBeVisible();
  expect(screen.getByText("1 variant being verified")).toBeVisible();
});

const ROW = {
  freed_bytes: 1_000_000_000,
  kept_bytes: 0,
  kept_because: [],
  original_bytes: 0,
  shared_cache: false,
  used_by: [],
  stays: false,
};

/** Answers as the server does: what is in use or, unless confirmed, shared stays and is not counted. */
function plans(rows: Record<string, object>) {
  server.use(
    http.post(api("/models/deletion-plan"), async ({ request }) => {
      const { ids, confirm_shared, with_original } = (await request.json()) as DeletionPlanRequest;
      const items = ids.map((id) => {
        const row = { ...ROW, id, ...rows[id] };
        return { ...row, stays: row.used_by.length > 0 || (row.shared_cache && !confirm_shared) };
      });
      const freed = items.reduce((sum, item) => sum + (item.stays ? 0 : item.freed_bytes), 0);
      const more = items.reduce((sum, item) => sum + item.original_bytes, 0);
      const figures = with_original ? [freed + more, 0] : [freed, more];
      return HttpResponse.json({ freed_bytes: figures[0], original_bytes: figures[1], items });
    }),
  );
}

it("deletes after one question; what is in use or shared stays", async () => {
  const asked: string[] = [];
  plans({ b: { used_by: [{ kind: "loaded", id: "w", name: "loaded on cpu of lab" }] }, d: { shared_cache: true } });
  server.use(
    http.delete(api("/models/:id"), ({ params }) => {
      asked.push(String(params.id));
      return HttpResponse.json(ROW);
    }),
  );
  show([ONE, FOUR, model({ id: "d", model_id: "lab/shared" })]);
  await userEvent.click(screen.getByRole("button", { name: "Delete 3…" }));
  const question = await screen.findByRole("dialog", { name: "Delete models" });
  expect(await within(question).findByText("gpt2, 4-bit: not deleted, loaded on cpu of lab")).toBeVisible();
  expect(within(question).getByText(/: not deleted, it is in the shared cache \(1.00 GB\)$/)).toBeVisible();
  const tick = within(question).getByRole("checkbox", { name: "Also remove files from the shared cache" });
  expect(tick).toHaveAccessibleDescription("Another tool may still need it.");
  await userEvent.click(tick);
  await waitFor(() => expect(within(question).getByRole("button", { name: "Delete 2, free 2.00 GB" })).toBeEnabled());
  await userEvent.click(tick);
  const confirm = await within(question).findByRole("button", { name: "Delete 1, free 1.00 GB" });
  await waitFor(() => expect(confirm).toBeEnabled());
  await expectAccessible();
  await userEvent.click(confirm);
  expect(asked).toEqual([]);
  act(doNow);
  expect(await screen.findByText("1 variant deleted")).toBeVisible();
  expect(asked).toEqual(["a"]);
});

it("tells the total of what goes together, and why something is kept", async () => {
  const kept_because = [{ bytes: 2_000, reason: "revision main uses it" }];
  plans({ a: { freed_bytes: 5_860_000 }, b: { freed_bytes: 8_190_000, kept_bytes: 2_000, kept_because } });
  show([ONE, FOUR]);
  await userEvent.click(screen.getByRole("button", { name: "Delete 2…" }));
  const question = await screen.findByRole("dialog", { name: "Delete models" });
  expect(await within(question).findByRole("button", { name: "Delete 2, free 14.1 MB" })).toBeEnabled();
  expect(within(question).getByText("keeps 2.00 kB: revision main uses it")).toBeVisible();
});

it("takes the originals of copies that stay along, when that is ticked", async () => {
  const asked: (string | null)[] = [];
  const kept_because = [{ bytes: 269_000_000, reason: "kept as the original of the quantized copy (8bit)" }];
  plans({ a: { freed_bytes: 0, kept_bytes: 269_000_000, kept_because, original_bytes: 269_000_000 } });
  server.use(
    http.delete(api("/models/:id"), ({ request }) => {
      asked.push(new URL(request.url).searchParams.get("with_original"));
      return HttpResponse.json(ROW);
    }),
  );
  show([ONE]);
  await userEvent.click(screen.getByRole("button", { name: "Delete 1…" }));
  const question = await screen.findByRole("dialog", { name: "Delete models" });
  await userEvent.click(
    await within(question).findByRole("checkbox", { name: "Also remove the original files, 269 MB" }),
  );
  const confirm = await within(question).findByRole("button", { name: "Delete 1, free 269 MB" });
  await waitFor(() => expect(confirm).toBeEnabled());
  await userEvent.click(confirm);
  expect(asked).toEqual([]);
  act(doNow);
  expect(await screen.findByText("1 variant deleted")).toBeVisible();
  expect(asked).toEqual(["true"]);
});

it("has no figures on its button when nothing can be deleted", async () => {
  plans({ a: { shared_cache: true } });
  show([ONE]);
  await userEvent.click(screen.getByRole("button", { name: "Delete 1…" }));
  const question = await screen.findByRole("dialog", { name: "Delete models" });
  expect(await within(question).findByText(/not deleted, it is in the shared cache/)).toBeVisible();
  expect(within(question).getByRole("button", { name: "Delete" })).toBeDisabled();
});

it("offers nothing while the server is away", () => {
  useModelsStore.setState({ conn: "stale" });
  show([ONE]);
  for (const name of ["Verify 1", "Quantize 1", "Delete 1…"])
    expect(screen.getByRole("button", { name })).toBeDisabled();
  useModelsStore.setState({ conn: "connecting" });
});
