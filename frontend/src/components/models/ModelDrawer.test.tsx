import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { useSystemStore } from "../../stores/systemStore";
import { architecture, downloading, estimate, model, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { InstalledFile, Model } from "../../types/model";
import { ModelDrawer } from "./ModelDrawer";

beforeEach(() => useSystemStore.setState({ system: system(), loaded: [], error: null }));

function show(row: Model, tab = "") {
  renderPage(
    <ModelDrawer
      opened
      model={row}
      loading={false}
      live={undefined}
      pending={undefined}
      onClose={() => undefined}
      onAction={() => undefined}
    />,
    `/models/${row.id}?tab=${tab}`,
  );
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

it("does not ask a Hub about a model that was imported from a folder", () => {
  show(model({ endpoint: "local", model_id: "local/mine" }));
  expect(screen.queryByRole("group", { name: "Memory to run it" })).toBeNull();
  expect(screen.getByText("1.19 GB, exact")).toBeVisible();
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
