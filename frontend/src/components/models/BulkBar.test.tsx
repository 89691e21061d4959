import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { applyList } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { downloading, model, problem } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { Model } from "../../types/model";
import { BulkBar } from "./BulkBar";

const ONE = model({ id: "a", model_id: "gpt2" });
const FOUR = model({ id: "b", model_id: "gpt2", quantization: "4bit" });
const MOVING = downloading({ id: "c" });

function show(models: Model[]) {
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, models));
  renderPage(<BulkBar models={models} onSelectAll={vi.fn()} onDone={vi.fn()} />);
}

it("counts what each action would touch", async () => {
  show([ONE, FOUR, MOVING]);
  for (const name of ["Verify 2", "Quantize 1", "Delete 2…"]) expect(screen.getByRole("button", { name })).toBeEnabled();
  expect(screen.getByText("3 selected")).toBeVisible();
  await expectAccessible();
});

it("does what it can and names what was refused", async () => {
  server.use(
    http.post(api("/models/a/verify"), () => HttpResponse.json(ONE, { status: 202 })),
    http.post(api("/models/b/verify"), () => refuse(problem(409, "conflict", "It is being quantized.", { hint: "Wait." }))),
  );
  show([ONE, FOUR]);
  await userEvent.click(screen.getByRole("button", { name: "Verify 2" }));
  expect(await screen.findByText("1 of 2 not being verified")).toBeVisible();
  expect(screen.getByText("gpt2, 4-bit: It is being quantized. Wait.")).toBeVisible();
  expect(screen.getByText("1 model being verified")).toBeVisible();
});

it("deletes after one question; what is in use or shared stays", async () => {
  const asked: string[] = [];
  const plan = { freed_bytes: 1_000_000_000, kept_bytes: 0, kept_because: [], shared_cache: false, used_by: [] };
  const plans: Record<string, object> = {
    a: plan,
    b: { ...plan, used_by: [{ kind: "loaded", id: "w", name: "loaded on cpu of lab" }] },
    d: { ...plan, shared_cache: true },
  };
  server.use(
    http.delete(api("/models/:id"), ({ request, params }) => {
      const id = String(params.id);
      if (new URL(request.url).searchParams.has("dry_run")) return HttpResponse.json(plans[id]);
      asked.push(id);
      return HttpResponse.json(plan);
    }),
  );
  show([ONE, FOUR, model({ id: "d" })]);
  await userEvent.click(screen.getByRole("button", { name: "Delete 3…" }));
  const question = await screen.findByRole("dialog", { name: "Delete models" });
  expect(await within(question).findByText("gpt2, 4-bit: stays, loaded on cpu of lab")).toBeVisible();
  expect(within(question).getByText(/: stays, it is in the shared cache \(1.00 GB\)$/)).toBeVisible();
  const tick = within(question).getByRole("checkbox", { name: "Also remove files from the shared cache" });
  expect(tick).toHaveAccessibleDescription("Another tool may still need it.");
  await userEvent.click(tick);
  expect(within(question).getByRole("button", { name: "Delete 2, free 2.00 GB" })).toBeEnabled();
  await userEvent.click(tick);
  await expectAccessible();
  await userEvent.click(within(question).getByRole("button", { name: "Delete 1, free 1.00 GB" }));
  expect(await screen.findByText("1 model deleted")).toBeVisible();
  expect(asked).toEqual(["a"]);
});

it("has no figures on its button when nothing can be deleted", async () => {
  const plan = { freed_bytes: 1_000_000_000, kept_bytes: 0, kept_because: [], shared_cache: true, used_by: [] };
  server.use(http.delete(api("/models/:id"), () => HttpResponse.json(plan)));
  show([ONE]);
  await userEvent.click(screen.getByRole("button", { name: "Delete 1…" }));
  const question = await screen.findByRole("dialog", { name: "Delete models" });
  expect(await within(question).findByText(/stays, it is in the shared cache/)).toBeVisible();
  expect(within(question).getByRole("button", { name: "Delete" })).toBeDisabled();
});
