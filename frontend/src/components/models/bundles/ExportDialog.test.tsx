import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { bundle, bundlePlan, bundleProgress } from "../../../test/bundleFixtures";
import { model, problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import ExportDialog from "./ExportDialog";

function show(plan = bundlePlan()) {
  const asked: unknown[] = [];
  const onClose = vi.fn();
  server.use(
    http.post(api("/bundles/plan"), () => HttpResponse.json(plan)),
    http.post(api("/bundles"), async ({ request }) => {
      asked.push(await request.json());
      return HttpResponse.json(bundle({ status: "running", progress: bundleProgress() }), { status: 202 });
    }),
    http.get(api("/bundles/b1"), () => HttpResponse.json(bundle())),
    http.delete(api("/bundles/b1"), () => HttpResponse.json({ freed_bytes: 1 })),
  );
  renderPage(<ExportDialog opened model={model()} onClose={onClose} />);
  return { asked, onClose };
}

const start = () => screen.findByRole("button", { name: "Export" });

it("says the size before the start, then how far it is, then offers the files", async () => {
  const user = userEvent.setup();
  const { asked, onClose } = show();
  expect(await screen.findByText(/1.52 GB in one file; 212 GB free/)).toBeVisible();
  await expectAccessible();
  await user.click(await start());
  expect(await screen.findByText("760 MB of 1.52 GB · 400 MB/s · 2 s left")).toBeVisible();
  expect(asked).toEqual([
    { ids: ["m1"], with_quantized: false, with_adapters: false, with_saes: false, split_bytes: null },
  ]);
  const link = await screen.findByRole("link", { name: "Qwen3-0.6B.tar" }, { timeout: 3000 });
  expect(link.getAttribute("href")).toMatch(/\/api\/v1\/bundles\/b1\/parts\/1$/);
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "Delete the bundle" }));
  await waitFor(() => expect(onClose).toHaveBeenCalled());
});

it("refuses what the disk has no room for, and says so", async () => {
  const refusal = { code: "disk_full", message: "The disk has 1 GB free.", hint: "Free space." };
  show(bundlePlan({ refusal }));
  expect(await screen.findByText(/The disk has 1 GB free/)).toBeVisible();
  expect(await start()).toBeDisabled();
});

it("shows the bundle that is here already", async () => {
  show();
  server.use(
    http.post(api("/bundles"), () => refuse(problem(409, "already_exists", "It is here (ready).", { id: "b1" }))),
  );
  await screen.findByText(/in one file/);
  await userEvent.click(await start());
  expect(await screen.findByRole("link", { name: "Qwen3-0.6B.tar" })).toBeVisible();
});
