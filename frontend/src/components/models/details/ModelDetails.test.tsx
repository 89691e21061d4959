import { act, cleanup, fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { beforeEach, expect, it, vi } from "vitest";
import { useModelsStore } from "../../../stores/modelsStore";
import { useSystemStore } from "../../../stores/systemStore";
import { trialOf, usePlaygroundStore } from "../../../stores/playgroundStore";
import {
  architecture,
  downloading,
  drift,
  estimate,
  historyEvent,
  liveOf,
  model,
  outOfRoom,
  problem,
  progress,
  system,
} from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { compatibility } from "../../../test/trainingFixtures";
import type { InstalledFile, Model } from "../../../types/model";
import { ModelDetails } from "./ModelDetails";

beforeEach(() => useSystemStore.setState({ system: system(), loaded: [], error: null }));

function show(row: Model, tab = "") {
  const onAction = vi.fn();
  renderPage(
    <ModelDetails
      model={row}
      live={row.status === "ready" && row.progress !== null ? liveOf(row) : undefined}
      pending={undefined}
      onAction={onAction}
      training={<p>Runs on {row.name}</p>}
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
  expect(screen.getByText("–")).toBeVisible();
  expect(screen.getByText("The Hub gives a SHA-256 for large files only.")).toBeVisible();
  await expectAccessible();
});

it("opens text files at an address of their own, and no others", async () => {
  const user = userEvent.setup();
  serveFiles([
    file("model.safetensors"),
    file("config.json", { sha256: null }),
    file("vocab.json", { sha256: null, present: false }),
  ]);
  const asked: string[] = [];
  server.use(
    http.get(api("/models/m1/text"), ({ request }) => {
      const path = new URL(request.url).searchParams.get("path") ?? "";
      asked.push(path);
      return HttpResponse.json({ path, text: '{"a": "<b>"}', size_bytes: 600_000, truncated: true });
    }),
  );
  show(model(), "files");
  const opener = await screen.findByRole("link", { name: "config.json" });
  expect(screen.queryByRole("link", { name: "model.safetensors" })).toBeNull();
  expect(screen.queryByRole("link", { name: "vocab.json" })).toBeNull();
  await user.click(opener);
  expect(await screen.findByRole("group", { name: "Text of config.json" })).toHaveTextContent('{"a": "<b>"}');
  expect(screen.getByText("600 kB, the first 12 B are shown")).toBeVisible();
  expect(asked).toEqual(["config.json"]);
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "Copy text" }));
  expect(await navigator.clipboard.readText()).toBe('{"a": "<b>"}');
  await user.click(screen.getByRole("link", { name: "All files" }));
  expect(await screen.findByRole("table")).toBeVisible();
});

it("has no column of hashes where there are none, and says why a file cannot be shown", async () => {
  serveFiles([file("config.json", { sha256: null })]);
  server.use(http.get(api("/models/m1/text"), () => refuse(problem(400, "invalid_request", "It is not a text file."))));
  show(model(), "files");
  await userEvent.click(await screen.findByRole("link", { name: "config.json" }));
  expect(await screen.findByText("It is not a text file.")).toBeVisible();
  await userEvent.click(screen.getByRole("link", { name: "All files" }));
  expect(await screen.findByRole("columnheader", { name: "Size" })).toBeVisible();
  expect(screen.queryByRole("columnheader", { name: "SHA-256" })).toBeNull();
});

it("shows the model card", async () => {
  const html = '<h3>Qwen3</h3>\n<p>See <a href="https://example.com">more</a>.</p>';
  server.use(http.get(api("/models/m1/card"), () => HttpResponse.json({ html, text: "# Qwen3", truncated: true })));
  show(model(), "card");
  const card = await screen.findByRole("article", { name: "Model card of Qwen3-0.6B" });
  expect(within(card).getByRole("heading", { level: 3, name: "Qwen3" })).toBeVisible();
  expect(within(card).getByRole("link", { name: "more" })).toHaveAttribute("href", "https://example.com");
  expect(screen.getByText("The first 7 B are shown.")).toBeVisible();
  await expectAccessible();
});

it("says that there is no model card, or why it cannot be shown", async () => {
  show(model(), "card");
  expect(await screen.findByText("No model card")).toBeVisible();
  cleanup();
  server.use(http.get(api("/models/m1/card"), () => refuse(problem(409, "conflict", "README.md is not on the disk."))));
  show(model(), "card");
  expect(await screen.findByText("README.md is not on the disk.")).toBeVisible();
});

it("tells a file that is gone from one that is still to come", async () => {
  serveFiles([file("a.safetensors", { present: false })]);
  show(model({ status: "missing" }), "files");
  expect(await screen.findByText("missing")).toBeVisible();
  show(downloading(), "files");
  expect(await screen.findByText("not downloaded yet")).toBeVisible();
});

it("shows which of its files cannot be read", async () => {
  const remark =
    "tokenizer_config.json of this model is not valid JSON. Whether there is a chat template is not known.";
  show(model({ has_chat_template: null, remarks: [remark] }));
  expect(await screen.findByText(remark)).toBeVisible();
});

it("shows the memory of every precision, its own marked, and nothing to choose", async () => {
  server.use(http.get(api("/models/estimate-memory"), () => HttpResponse.json(estimate())));
  show(model({ quantization: "4bit" }));
  const chart = await screen.findByRole("group", { name: "Memory needed" });
  expect(await within(chart).findByRole("cell", { name: "1.50 GB" })).toBeVisible();
  expect(within(chart).getByRole("rowheader", { name: /this model/ })).toHaveTextContent("4-bit");
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
  const chart = screen.getByRole("group", { name: "Memory needed" });
  expect(await within(chart).findAllByRole("rowheader")).toHaveLength(3);
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
  expect(await screen.findByRole("textbox", { name: "Message" })).toBeVisible();
});

it("unloads what is loaded although its files are gone, and offers what follows", async () => {
  const error = { code: "files_missing", message: "Files of this model are gone.", hint: null };
  const used_by = [{ kind: "loaded" as const, id: "w", name: "loaded on cpu of lab" }];
  const onAction = show(model({ status: "missing", loaded: true, used_by, error, disk_bytes: 1000 }));
  expect(screen.getByText("Loaded on cpu of lab")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Unload" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "unload");
  const alert = screen.getByText("Files are missing").closest<HTMLElement>("[role=alert]") ?? document.body;
  expect(within(alert).getByText("Files of this model are gone.")).toBeVisible();
  await userEvent.click(within(alert).getByRole("button", { name: /^Download again/ }));
  expect(onAction).toHaveBeenLastCalledWith(expect.anything(), "resume");
  await userEvent.click(within(alert).getByRole("button", { name: "Delete…" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.anything(), "delete");
  await expectAccessible();
});

it("puts the next step beside the others where a download stopped, and says what is kept", () => {
  const error = { code: "disk_full", message: "The disk is full.", hint: "Free 0.5 GB, then resume." };
  show(model({ status: "failed", disk_bytes: 300_000_000, error }));
  const alert = screen.getByText("The download failed").closest<HTMLElement>("[role=alert]") ?? document.body;
  expect(
    within(alert).getByText("The disk is full. The 300 MB on the disk are kept. Free 0.5 GB, then resume."),
  ).toBeVisible();
  expect(within(alert).getByRole("button", { name: /^Retry/ })).toBeVisible();
  expect(screen.getAllByRole("button", { name: /^Retry/ })).toHaveLength(1);
});

it("offers no training that is not possible, and says why; files are verified from here", async () => {
  const reasons = [{ code: "damaged", message: "Its config.json is damaged on the disk." }];
  const answer = compatibility({ compatible: false, reasons, hook_points: [] });
  server.use(http.get(api("/models/m1/training-compatibility"), () => HttpResponse.json(answer)));
  const onAction = show(model());
  expect(screen.getByRole("link", { name: "Train an SAE on this" })).toBeVisible();
  expect(
    await screen.findByText("SAE training is not possible. Its config.json is damaged on the disk."),
  ).toBeVisible();
  expect(screen.queryByRole("link", { name: "Train an SAE on this" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Verify the files" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "verify");
});

it("tells under the name what is to be known first; a newer version leads to the files", async () => {
  serveFiles([]);
  show(model({ gated: true, has_custom_code: true, update_available: true, latest_commit: "d".repeat(40) }));
  const badges = within(screen.getByRole("list", { name: "About Qwen3-0.6B" }));
  expect(badges.getByText("Gated")).toBeVisible();
  expect(badges.getByText("Custom code")).toBeVisible();
  await userEvent.click(badges.getByRole("link", { name: "Update available" }));
  expect(screen.getByRole("tab", { name: "Files" })).toHaveAttribute("aria-selected", "true");
});

it("falls back to the memory it was told once where its Hub tells none, and offers another model", async () => {
  const endpoint = "http://127.0.0.1:45393/hub";
  const { hub } = system();
  useSystemStore.setState({ system: system({ hub: { ...hub, endpoint, endpoint_source: "builtin" } }) });
  const gone = problem(404, "hub_model_not_found", `There is no model 'a/b' on ${endpoint}.`, {
    hint: "Check the spelling.",
  });
  server.use(http.get(api("/models/m1/estimate-memory"), () => refuse(gone)));
  show(model({ status: "missing", endpoint }));
  const title = await screen.findByText("Weights 1.19 GB, exact; the rest is unknown");
  const alert = within(title.closest<HTMLElement>("[role=alert]") ?? document.body);
  expect(alert.getByText("There is no model 'a/b' on the built-in sample Hub.")).toBeVisible();
  expect(alert.queryByRole("button")).toBeNull();
  const another = alert.getByRole("link", { name: "Look for another model" });
  expect(another).toHaveAttribute("href", "/models?view=hub&find=Qwen3-0.6B");
  expect(screen.queryByRole("slider")).toBeNull();
  expect(screen.getByText("the built-in sample Hub")).toBeVisible();
  await expectAccessible();
});

it("asks for the memory of a model that stopped by its row, so that its own Hub is asked", async () => {
  server.use(
    http.get(api("/models/estimate-memory"), () => refuse(problem(404, "hub_model_not_found", "Another Hub."))),
  );
  show(model({ status: "paused" }));
  expect(await screen.findAllByRole("rowheader")).toHaveLength(3);
});

it("puts verifying first where a file is damaged", async () => {
  const damaged = problem(502, "checksum_mismatch", "The config.json is damaged.", { hint: "Verify the model." });
  const reasons = [{ code: "checksum_mismatch", message: "The config.json is damaged." }];
  server.use(
    http.get(api("/models/m1/estimate-memory"), () => refuse(damaged)),
    http.get(api("/models/m1/training-compatibility"), () =>
      HttpResponse.json(compatibility({ compatible: false, reasons, hook_points: [] })),
    ),
  );
  const onAction = show(model());
  const title = await screen.findByText("Weights 1.19 GB, exact; the rest is unknown");
  const alert = within(title.closest<HTMLElement>("[role=alert]") ?? document.body);
  expect(alert.getByText("The config.json is damaged. Verify the model.")).toBeVisible();
  expect(alert.getAllByRole("button").map((button) => button.textContent)).toEqual(["Verify the files", "Try again"]);
  await userEvent.click(alert.getByRole("button", { name: "Verify the files" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "verify");
  await screen.findByText(/^SAE training is not possible/);
  const [header] = screen.getAllByRole("button", { name: "Verify the files" });
  expect(header).toHaveAttribute("data-variant", "filled");
  expect(screen.getByRole("button", { name: "Load" })).toHaveAttribute("data-variant", "default");
});

it("shows how far a load is, and stops it", async () => {
  const loading = progress({
    phase: "loading",
    message: "making room: unloading gpt2",
    bytes_done: 0,
    bytes_total: null,
  });
  const onAction = show(model({ progress: loading }));
  expect(screen.getByText("Loading: making room: unloading gpt2")).toBeVisible();
  expect(screen.queryByRole("button", { name: "Load" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Stop loading" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "cancel");
});

it("says what a ready model did not do, as far as the server tells, and why", () => {
  const error = { code: "out_of_memory", message: "Not enough memory.", hint: "Load it in 4-bit." };
  for (const [during, title] of [
    ["load", "Loading failed"],
    ["unload", "Unloading failed"],
    [null, "Something went wrong"],
  ] as const) {
    show(model({ loaded: true, error: { ...error, during } }));
    expect(screen.getByText(title)).toBeVisible();
    expect(screen.getByText("Not enough memory. Load it in 4-bit.")).toBeVisible();
    cleanup();
  }
});

it("leads first to more room where a download waits for it", () => {
  show(outOfRoom({ disk_bytes: 300_000_000 }));
  const [title] = screen.getAllByText("Paused: disk full").filter((element) => element.closest("[role=alert]"));
  const alert = within(title?.closest<HTMLElement>("[role=alert]") ?? document.body);
  expect(
    alert.getByText(/^The disk is full. The 300 MB on the disk are kept. .* resumes when there is room.$/),
  ).toBeVisible();
  const resume = alert.getByRole("button", { name: /^Resume/ });
  expect(resume).toHaveAttribute("data-variant", "default");
  expect(alert.getByRole("link", { name: "Use another disk" }).compareDocumentPosition(resume)).toBe(
    Node.DOCUMENT_POSITION_FOLLOWING,
  );
});

it("says when its folder is told, and how long its last load took", () => {
  show(downloading());
  expect(screen.getByText("available after the download")).toBeVisible();
  cleanup();
  show(model({ last_load_seconds: 0.8 }));
  expect(screen.getByText("0.80 s")).toBeVisible();
});

it("offers to try it where it is not being tried, and no second load while a text loads it", () => {
  show(model({ loaded: true }), "try");
  expect(screen.queryByRole("button", { name: "Try it" })).toBeNull();
  cleanup();
  usePlaygroundStore.setState((state) => ({ trials: { m1: { ...trialOf(state, "m1"), running: true } } }));
  show(model(), "try");
  expect(screen.getByRole("button", { name: "Loading" })).toBeDisabled();
  usePlaygroundStore.setState({ trials: {} });
});

it("looks at the files again with each that comes", async () => {
  let asked = 0;
  server.use(
    http.get(api("/models/m1/files"), () => {
      asked += 1;
      return HttpResponse.json({ items: [file("a.safetensors", { present: asked > 1 })] });
    }),
  );
  const details = (files_done: number) => {
    const row = downloading({ progress: progress({ files_done }) });
    const nothing = { pending: undefined, training: null, onAction: () => undefined };
    return <ModelDetails model={downloading()} live={liveOf(row)} {...nothing} />;
  };
  function Counted() {
    const [files, setFiles] = useState(0);
    return (
      <>
        {details(files)}
        <button data-testid="next" onClick={() => setFiles(1)} />
      </>
    );
  }
  renderPage(<Counted />, "/models/m1?tab=files");
  expect(await screen.findByText("not downloaded yet")).toBeVisible();
  fireEvent.click(screen.getByTestId("next"));
  expect(await screen.findByText("1 file, all on the disk")).toBeVisible();
});

it("offers nothing that needs the server while it is away, and says that it is", () => {
  useModelsStore.setState({ conn: "stale" });
  show(model());
  for (const name of ["Load", "Quantize…", "Verify the files", "Delete…"]) {
    expect(screen.getByRole("button", { name })).toBeDisabled();
    expect(screen.getByRole("button", { name })).toHaveAttribute("title", "The server does not answer");
  }
  useModelsStore.setState({ conn: "connecting" });
});

it("tells the drift of a quantized copy, and what its unload gave back", async () => {
  show(
    model({
      quantization: "4bit",
      drift: drift(),
      last_unload: { freed_bytes: 5_000_000_000, held_before_bytes: 4_000_000_000, mapped_bytes: 0 },
    }),
  );
  expect(screen.getByText("0.0123 nats on average, 0.2000 at most")).toBeVisible();
  expect(screen.getByText("87.6 % of tokens")).toBeVisible();
  expect(screen.getByText("32.40; the original's 24.60")).toBeVisible();
  expect(screen.getByText(/lowest 0.9810 after layer 1; 0.9900 after the last layer/)).toBeVisible();
  expect(screen.getByRole("img", { name: "Cosine per layer: 1.000, 0.998, 0.981, 0.990" })).toBeVisible();
  expect(screen.getByText("5.00 GB freed, all of the 4.00 GB it held")).toBeVisible();
  expect(screen.getByText(/modelyard.load\("Qwen\/Qwen3-0.6B", quantization="4bit"\)/)).toBeVisible();
  await expectAccessible();
});

it("compares hidden states only where there is no language head", () => {
  const none = { kl_mean: null, kl_max: null, top1_agreement: null, perplexity: null, source_perplexity: null };
  show(model({ quantization: "8bit", drift: drift({ ...none, output_cosine: 0.9987 }) }));
  expect(screen.getByText("not compared: the model has no language head")).toBeVisible();
  expect(screen.getByText("0.9987")).toBeVisible();
  expect(screen.getByText(/lowest 0.9810 after layer 1/)).toBeVisible();
  expect(screen.queryByText(/nats|Top-1 agreement|Perplexity/)).not.toBeInTheDocument();
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
  expect(screen.getByLabelText("transformers code")).toHaveTextContent(
    'from_pretrained("Qwen/Qwen3-0.6B", dtype="auto")',
  );
});

it("tells what was done to a model, the newest first, and goes back further when asked", async () => {
  const failed = historyEvent({
    event: "failed",
    seconds: 12,
    bytes: 400_000_000,
    moved_bytes: 400_000_000,
    error: { code: "hub_unreachable", message: "The Hub does not answer.", hint: "Retry." },
  });
  const asked: string[] = [];
  server.use(
    http.get(api("/models/m1/history"), ({ request }) => {
      const offset = new URL(request.url).searchParams.get("offset") ?? "";
      asked.push(offset);
      const older = Array.from({ length: 48 }, (_, index) => historyEvent({ kind: "load", bytes: index + 1 }));
      const items = offset === "0" ? [historyEvent(), failed, ...older] : [historyEvent({ event: "started" })];
      return HttpResponse.json({ items, total: 51, limit: 50, offset: Number(offset) });
    }),
  );
  show(model(), "history");
  const list = await screen.findByRole("list", { name: "History, the newest first" });
  const [first, second] = within(list).getAllByRole("listitem");
  expect(first).toHaveTextContent("Downloaded1.50 GB in 30 s, 50.0 MB/s");
  expect(second).toHaveTextContent("Download failed400 MB in 12 s, 33.3 MB/sThe Hub does not answer. Retry.");
  expect(screen.getByText("50 of 51")).toBeVisible();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Show older" }));
  expect(await screen.findByText("Download started")).toBeVisible();
  expect(screen.queryByRole("button", { name: "Show older" })).toBeNull();
  expect(asked).toEqual(["0", "0", "50"]);
});

it("says that nothing has happened yet, or why that is not known", async () => {
  show(model(), "history");
  expect(await screen.findByText("No history yet")).toBeVisible();
  cleanup();
  const locked = problem(500, "internal_error", "The database is locked.");
  server.use(http.get(api("/models/m1/history"), () => refuse(locked)));
  show(model(), "history");
  expect(await screen.findByText(/The database is locked/)).toBeVisible();
});

const OUTDATED = model({ update_available: true, latest_commit: "d".repeat(40), checked_at: new Date().toISOString() });

it("offers the newer version, and says that it is coming", async () => {
  serveFiles([]);
  useModelsStore.setState({ byId: { m1: OUTDATED }, ids: ["m1"], live: {}, pending: {} });
  const onAction = show(OUTDATED, "files");
  expect(await screen.findByText("A newer version is on the Hub")).toBeVisible();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Update…" }));
  expect(onAction).toHaveBeenLastCalledWith(OUTDATED, "update");
  const newer = downloading({ id: "m2", commit: OUTDATED.latest_commit ?? "" });
  act(() => useModelsStore.setState({ byId: { m1: OUTDATED, m2: newer }, ids: ["m1", "m2"] }));
  expect(await screen.findByText("The newer version is being downloaded")).toBeVisible();
  expect(screen.getByText("Updating")).toBeVisible();
  expect(screen.getByRole("link", { name: "Open it" })).toHaveAttribute("href", "/models/m2");
});

it("offers the way back, and to stay", async () => {
  serveFiles([]);
  const row = model({ update_available: false, previous_commit: "b".repeat(40) });
  const onAction = show(row, "files");
  await userEvent.click(await screen.findByRole("button", { name: "Roll back…" }));
  expect(onAction).toHaveBeenLastCalledWith(row, "rollback");
  await userEvent.click(screen.getByRole("button", { name: "Pin this version" }));
  expect(onAction).toHaveBeenLastCalledWith(row, "pin");
  cleanup();
  const pinned = { ...row, pinned_commit: row.commit };
  const onPinned = show(pinned, "files");
  expect(await screen.findByText("Pinned to this version; no updates are offered.")).toBeVisible();
  expect(screen.queryByRole("button", { name: "Roll back…" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Unpin" }));
  expect(onPinned).toHaveBeenLastCalledWith(pinned, "unpin");
});

it("says that another version is in use, and offers this one", async () => {
  serveFiles([]);
  const row = model({ update_available: true, replaced_by: "m2" });
  const onAction = show(row, "files");
  expect(await screen.findByText("This version is not in use")).toBeVisible();
  expect(screen.getByText("Replaced")).toBeVisible();
  expect(screen.queryByText("Update available")).toBeNull();
  expect(screen.getByRole("link", { name: "Open the version in use" })).toHaveAttribute("href", "/models/m2");
  await userEvent.click(screen.getByRole("button", { name: "Use this version…" }));
  expect(onAction).toHaveBeenLastCalledWith(row, "use-version");
  await expectAccessible();
});

it("asks the Hub for a newer version now, and says why it could not", async () => {
  serveFiles([]);
  server.use(http.post(api("/models/m1/check-update"), () => refuse(problem(502, "hub_unreachable", "No Hub."))));
  useModelsStore.setState({ byId: { m1: model() }, ids: ["m1"], live: {}, pending: {} });
  show(model(), "files");
  expect(await screen.findByText("No update information for main.")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Check now" }));
  expect(await screen.findByText("No Hub.")).toBeVisible();
  server.use(http.post(api("/models/m1/check-update"), () => HttpResponse.json(OUTDATED)));
  await userEvent.click(screen.getByRole("button", { name: "Check now" }));
  await waitFor(() => expect(useModelsStore.getState().byId.m1?.update_available).toBe(true));
  expect(screen.queryByText("No Hub.")).toBeNull();
});

it("says that a model is the newest, and when that was asked", () => {
  serveFiles([]);
  show(model({ update_available: false, checked_at: new Date().toISOString() }), "files");
  expect(screen.getByText("Up to date with main, checked just now.")).toBeVisible();
  expect(screen.getByRole("button", { name: "Check again" })).toBeVisible();
});

it("looks for nothing newer than a commit, or than a folder", () => {
  serveFiles([]);
  show(model({ revision: model().commit.slice(0, 12) }), "files");
  expect(screen.getByText("Downloaded at this commit; no updates.")).toBeVisible();
  show(model({ id: "m2", endpoint: "local" }), "files");
  expect(screen.getByText("Imported from a folder; no updates.")).toBeVisible();
});
