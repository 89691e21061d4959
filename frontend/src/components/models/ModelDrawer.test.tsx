import { cleanup, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { useSystemStore } from "../../stores/systemStore";
import { architecture, downloading, drift, estimate, model, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { InstalledFile, Model } from "../../types/model";
import { ModelDrawer } from "./ModelDrawer";

beforeEach(() => useSystemStore.setState({ system: system(), loaded: [], error: null }));

function show(row: Model, tab = "") {
  const onAction = vi.fn();
  renderPage(
    <ModelDrawer
      opened
      model={row}
      loading={false}
      live={undefined}
      pending={undefined}
      onClose={() => undefined}
      onAction={onAction}
    />,
    `/models/${row.id}?tab=${tab}`,
  );
  return onAction;
}

function file(path: string, changes: Partial<InstalledFile> = {}): InstalledFile {
  return { path, size_bytes: 1_000_000, sha256: "ab".repeat(32), git_sha1: null, present: true, ...changes };
}

const serveFiles = (items: InstalledFile[]) =>
  server.use(
    http.get(api("/models/m1/files"), () => HttpResponse.json({ items })),
    // Reading what is here must not need the Hub.
    http.get(api("/models/info/*"), () => refuse(problem(502, "hub_unreachable", "No Hub."))),
  );

it("lists the files that are here and their hashes", async () => {
  serveFiles([file("config.json", { size_bytes: 700 }), file("model.safetensors", { sha256: null })]);
  show(model(), "files");
  expect(await screen.findByText("2 files, all on the disk")).toBeVisible();
  const rows = screen.getAllByRole("row").slice(1);
  expect(rows.map((row) => within(row).getAllByRole("cell")[0]?.textContent)).toEqual([
    "model.safetensors",
    "config.json",
  ]);
  expect(screen.getByText("none given")).toBeVisible();
  await expectAccessible();
});

it("tells a file that is gone from one that is still to come", async () => {
  serveFiles([file("a.safetensors", { present: false })]);
  show(model({ status: "missing" }), "files");
  expect(await screen.findByText("not on the disk")).toBeVisible();
  show(downloading(), "files");
  expect(await screen.findByText("not here yet")).toBeVisible();
});

it("shows the memory of every precision, its own marked, and nothing to choose", async () => {
  server.use(http.get(api("/models/estimate-memory"), () => HttpResponse.json(estimate())));
  show(model({ quantization: "4bit" }));
  const chart = await screen.findByRole("group", { name: "Memory to run it" });
  expect(await within(chart).findByText("1.50 GB to run")).toBeVisible();
  expect(within(chart).getByText("this model").parentElement).toHaveTextContent("4-bit");
  expect(within(chart).queryByRole("radio")).toBeNull();
  await expectAccessible();
});

it("asks no Hub about the memory of a model that is here", async () => {
  let hubAsked = false;
  server.use(
    http.get(api("/models/estimate-memory"), () => {
      hubAsked = true;
      return HttpResponse.json(estimate());
    }),
    http.get(api("/models/m1/estimate-memory"), () => HttpResponse.json(estimate())),
  );
  show(model({ endpoint: "local", model_id: "local/mine" }));
  const chart = screen.getByRole("group", { name: "Memory to run it" });
  expect((await within(chart).findAllByText(/to run$/)).length).toBe(3);
  expect(hubAsked).toBe(false);
  expect(screen.getByText("1.19 GB, exact")).toBeVisible();
});

it("loads, or unloads and tries, what is ready", async () => {
  const onAction = show(model());
  await userEvent.click(screen.getByRole("button", { name: "Load" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "load");
  cleanup();
  const used_by = [{ kind: "loaded" as const, id: "w", name: "loaded on cuda:0 of lab" }];
  const onLoaded = show(model({ loaded: true, memory_measured_bytes: 1_300_000_000, used_by }));
  expect(screen.getByText("Loaded on cuda:0 of lab, 1.30 GB measured")).toBeVisible();
  expect(screen.getByText("9.1 % more than estimated")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Unload" }));
  expect(onLoaded).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "unload");
  await userEvent.click(screen.getByRole("button", { name: "Try it" }));
  expect(await screen.findByRole("textbox", { name: "Text to continue" })).toBeVisible();
});

it("says that a ready model was not loaded, and why", () => {
  show(model({ error: { code: "out_of_memory", message: "Not enough memory.", hint: "Load it in 4-bit." } }));
  expect(screen.getByText("It was not loaded")).toBeVisible();
  expect(screen.getByText("Not enough memory. Load it in 4-bit.")).toBeVisible();
});

it("tells the drift of a quantized copy, and what its unload gave back", async () => {
  show(
    model({
      quantization: "4bit",
      drift: drift(),
      last_unload: { freed_bytes: 5_000_000_000, held_before_bytes: 4_000_000_000 },
    }),
  );
  expect(screen.getByText("0.0123 nats on average, 0.2000 at most")).toBeVisible();
  expect(screen.getByText("87.6 % of the places")).toBeVisible();
  expect(screen.getByText(/lowest 0.9810 after layer 1; 0.9900 at the end/)).toBeVisible();
  expect(screen.getByRole("img", { name: "Cosine per layer: 1.000, 0.998, 0.981, 0.990" })).toBeVisible();
  expect(screen.getByText("all 4.00 GB it held came back (5.00 GB freed)")).toBeVisible();
  expect(screen.getByText(/modelyard.load\("Qwen\/Qwen3-0.6B", quantization="4bit"\)/)).toBeVisible();
  await expectAccessible();
});

it("says why there is no drift to tell", () => {
  const none = { kl_mean: null, kl_max: null, top1_agreement: null, residual_cosine: [] };
  show(model({ quantization: "8bit", drift: drift({ ...none, reason: "The source did not fit beside it." }) }));
  expect(screen.getByText("The source did not fit beside it.")).toBeVisible();
});

it("opens the architecture at its own address", async () => {
  server.use(http.get(api("/models/m1/architecture"), () => HttpResponse.json(architecture())));
  const user = userEvent.setup();
  show(model());
  await user.click(screen.getByRole("tab", { name: "Architecture" }));
  expect(await screen.findByRole("tree")).toBeVisible();
  await user.click(screen.getByRole("button", { name: "Code for model.layers.0" }));
  expect(screen.getByLabelText("transformers code")).toHaveTextContent('from_pretrained("Qwen/Qwen3-0.6B", dtype="auto")');
});
