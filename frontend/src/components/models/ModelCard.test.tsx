import { act, cleanup, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { adapter, downloading, model, outOfRoom, progress, system } from "../../test/fixtures";
import { expectAccessible, renderPage } from "../../test/render";
import type { Pending } from "../../types/feed";
import { applyList } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model } from "../../types/model";
import { groupModels } from "../../lib/groups";
import { ModelCard } from "./ModelCard";

function show(row: Model, pending?: Pending, others: Model[] = []) {
  const onAction = vi.fn();
  const rows = [row, ...others];
  useModelsStore.setState({
    ...applyList({ byId: {}, ids: [], live: {}, pending: {} }, rows),
    pending: pending === undefined ? {} : { [row.id]: pending },
  });
  const [group] = groupModels(rows);
  if (group === undefined) throw new Error("There is no model to show.");
  renderPage(
    <ModelCard group={group} devices={system().devices} search="" onAction={onAction} onPoint={() => undefined} />,
  );
  return onAction;
}

it("says what a ready model is and needs", async () => {
  show(model());
  const card = screen.getByRole("article");
  expect(within(card).getByRole("link", { name: "Qwen3-0.6B" })).toHaveAttribute("href", "/models/m1");
  for (const text of [
    "596 M parameters",
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

it("says what an adapter belongs to, and that its base is missing", async () => {
  const user = userEvent.setup();
  show(adapter());
  expect(screen.getByText("Adapter of Qwen/Qwen3-0.6B")).toBeVisible();
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "More actions for lora, adapter" }));
  expect(await screen.findByRole("menuitem", { name: "Verify the files" })).toBeVisible();
  expect(screen.queryByRole("menuitem", { name: /Quantize/ })).toBeNull();
  cleanup();
  show(adapter({ base_id: null }));
  expect(screen.getByText("Base missing: Qwen/Qwen3-0.6B")).toBeVisible();
});

it("tells whether it fits what is free, and not of one that is loaded or goes", () => {
  show(model());
  expect(screen.getByText("fits")).toBeVisible();
  show(model({ id: "m2", memory_estimated_bytes: 40_000_000_000 }));
  expect(screen.getByText("too large")).toBeVisible();
  show(model({ id: "m3", loaded: true, memory_measured_bytes: 19_000_000_000 }));
  expect(screen.queryByText("tight")).toBeNull();
  cleanup();
  show(model({ status: "deleting" }));
  expect(screen.queryByText("fits"), "it goes").toBeNull();
});

it("warns of what is special about a model, and leads to its newer version", async () => {
  const onAction = show(model({ gated: true, has_custom_code: true, update_available: true }));
  expect(screen.getByText("apache-2.0")).toBeVisible();
  expect(screen.getByText("Gated")).toBeVisible();
  expect(screen.getByText("Custom code")).toBeVisible();
  expect(screen.getByRole("link", { name: "Update available" })).toHaveAttribute("href", "/models/m1?tab=files");
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Update…" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "update");
  await userEvent.click(screen.getByRole("button", { name: "More actions for Qwen3-0.6B" }));
  expect(await screen.findByRole("menuitem", { name: "Open the licence page" })).toHaveAttribute(
    "href",
    "https://huggingface.co/Qwen/Qwen3-0.6B",
  );
});

it("says why a model cannot be trained on, and offers it where it can", async () => {
  const reasons = [{ code: "encoder_only", message: "This is an encoder." }];
  show(model({ training: { compatible: false, reasons } }));
  expect(screen.getByText("No SAE training")).toHaveAttribute("title", "This is an encoder.");
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  expect(await screen.findByRole("menuitem", { name: "Delete…" })).toBeVisible();
  expect(screen.queryByRole("menuitem", { name: "Train an SAE on this" })).toBeNull();
  await userEvent.keyboard("{Escape}");
  show(model({ id: "m2", name: "other", training: { compatible: null, reasons } }));
  expect(screen.getByText("SAE training not verified")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: /^More actions for other, / }));
  expect(await screen.findByRole("menuitem", { name: "Train an SAE on this" })).toBeVisible();
});

it("does not say that a model fits while the disk has no room for it", () => {
  const error = { code: "disk_full", message: "The disk lacks 1.74 TB.", hint: "Free space." };
  show(model({ status: "paused", error }));
  expect(screen.getByText(/The disk lacks 1.74 TB/)).toBeVisible();
  expect(screen.queryByText("fits")).toBeNull();
});

it("has no badges where nothing is special", () => {
  show(model({ update_available: false }));
  expect(screen.queryByRole("list")).toBeNull();
});

it("offers a smaller precision where the memory was too small", async () => {
  const error = { code: "out_of_memory", message: "Not enough memory.", hint: "Load it in 4-bit." };
  const onAction = show(model({ error }));
  await userEvent.click(screen.getByRole("button", { name: "Quantize to 4-bit…" }));
  expect(onAction).toHaveBeenCalledWith(expect.objectContaining({ id: "m1" }), "quantize-4bit");
});

it("prefers the measured memory and never prints an unknown one as zero", () => {
  show(model({ memory_measured_bytes: 1_200_000_000 }));
  expect(screen.getByText("measured")).toBeVisible();
  show(model({ id: "m3", memory_method: "approximate" }));
  expect(screen.getByText("≈ 1.19 GB")).toBeVisible();
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
  expect(screen.getByText("Retrying in 4 s (connection reset)")).toBeVisible();
  expect(screen.getByText("400 MB of 1.60 GB · 24 s left")).toBeVisible();
});

it("names an error with its next step, and keeps the figures of a failed download out of the way", async () => {
  const row = downloading({
    status: "failed",
    error: { code: "gated_not_accepted", message: "The terms are not accepted.", hint: "Accept them." },
  });
  const onAction = show(row);
  expect(screen.getByText("The terms are not accepted.")).toBeVisible();
  expect(screen.getByText("Accept them.")).toBeVisible();
  expect(screen.getByRole("link", { name: "Open the licence page" })).toHaveAttribute(
    "href",
    "https://huggingface.co/Qwen/Qwen3-0.6B",
  );
  expect(screen.queryByRole("progressbar")).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Retry Qwen3-0.6B" }));
  expect(onAction).toHaveBeenCalledWith(row, "resume");
});

async function copied(row: Model): Promise<string> {
  const user = userEvent.setup();
  show(row);
  await user.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  await user.click(await screen.findByRole("menuitem", { name: "Copy code that loads it" }));
  return navigator.clipboard.readText();
}

it("copies the lines that load the model", async () => {
  expect(await copied(model({ revision: "v2" }))).toContain(
    'from_pretrained("Qwen/Qwen3-0.6B", revision="v2", dtype="auto")',
  );
});

it("copies lines that still load this one when its branch has moved on", async () => {
  const outdated = model({ update_available: true });
  expect(await copied(outdated)).toContain(`from_pretrained("Qwen/Qwen3-0.6B", revision="${outdated.commit}"`);
});

it("copies two lines for a quantized copy", async () => {
  expect(await copied(model({ quantization: "4bit" }))).toBe(
    'import modelyard\nmodel, tokenizer = modelyard.load("Qwen/Qwen3-0.6B", quantization="4bit")',
  );
});

it("offers to load a ready model, and to quantize it from its menu", async () => {
  const row = model();
  const onAction = show(row);
  await userEvent.click(screen.getByRole("button", { name: "Load Qwen3-0.6B" }));
  expect(onAction).toHaveBeenLastCalledWith(row, "load");
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  expect(screen.queryByRole("menuitem", { name: "Unload" })).toBeNull();
  await userEvent.click(await screen.findByRole("menuitem", { name: "Quantize to 8-bit…" }));
  expect(onAction).toHaveBeenLastCalledWith(row, "quantize-8bit");
});

it("offers to merge an adapter, and nothing else, from its menu", async () => {
  const row = adapter({ status: "ready" });
  const onAction = show(row);
  await userEvent.click(screen.getByRole("button", { name: `More actions for ${row.name}, adapter` }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Merge into a model" }));
  expect(onAction).toHaveBeenLastCalledWith(row, "merge");
  cleanup();
  show(model());
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  await screen.findByRole("menuitem", { name: "Quantize to 8-bit…" });
  expect(screen.queryByRole("menuitem", { name: "Merge into a model" })).toBeNull();
});

const LOADED = model({
  loaded: true,
  memory_measured_bytes: 1_192_099_840,
  used_by: [{ kind: "loaded", id: "w", name: "loaded on cpu of lab" }],
});

it("says where a model is loaded, what it measures, and offers to try and to unload it", async () => {
  const onAction = show(LOADED);
  expect(screen.getByText("Loaded on cpu of lab")).toBeVisible();
  expect(screen.getByText("measured")).toBeVisible();
  expect(screen.queryByText(/estimated/)).toBeNull();
  expect(screen.getByRole("link", { name: "Try it: Qwen3-0.6B" })).toHaveAttribute("href", "/models/m1?tab=try");
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  expect(await screen.findByRole("menuitem", { name: "Unload" })).toBeVisible();
  await userEvent.click(screen.getByRole("menuitem", { name: "Unload" }));
  expect(onAction).toHaveBeenCalledWith(LOADED, "unload");
});

it("keeps a ready model's failed load in sight until it is tried again", () => {
  const error = { code: "out_of_memory", message: "Not enough memory.", hint: "Load it in 4-bit." };
  show(model({ error }));
  expect(screen.getByText("Not enough memory.")).toBeVisible();
  expect(screen.getByText("Load it in 4-bit.")).toBeVisible();
  show(model({ id: "m2", model_id: "gpt2", error }), { op: "load", prev: "ready" });
  expect(screen.getAllByText("Not enough memory.")).toHaveLength(1);
  expect(screen.getByText("Loading")).toBeVisible();
  expect(screen.getByRole("button", { name: "Load gpt2" })).toBeDisabled();
});

it("says why a download was paused, that it goes on by itself, and first how to make room", async () => {
  const row = outOfRoom();
  const onAction = show(row);
  expect(screen.getAllByText("Paused: disk full")).toHaveLength(2);
  expect(screen.getByText("The disk is full.")).toBeVisible();
  expect(screen.getByText(/It resumes when there is room/)).toBeVisible();
  expect(screen.getByRole("link", { name: "Show the largest models" })).toBeVisible();
  expect(screen.queryByRole("button", { name: /Resume/ })).toBeNull();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Resume now" }));
  expect(onAction).toHaveBeenCalledWith(row, "resume");
});

it("tells what a pending row does, and not that it waits, once a worker has it", () => {
  const resolving = { phase: "resolving" as const, bytes_done: 0, bytes_total: null };
  show(downloading({ status: "pending", progress: progress({ ...resolving, waiting: true }) }));
  expect(screen.getByText("Waiting for a worker")).toBeVisible();
  cleanup();
  show(downloading({ status: "pending", progress: progress(resolving) }));
  expect(screen.getByText("Looking up files")).toBeVisible();
  cleanup();
  const message = "retrying in 4 s (the Hub answered 503)";
  show(downloading({ status: "pending", progress: progress({ ...resolving, phase: "retrying", message }) }));
  expect(screen.getByText("Retrying in 4 s (the Hub answered 503)")).toBeVisible();
});

it("keeps no rate and no time left of a worker that has fallen silent", () => {
  vi.useFakeTimers();
  show(downloading());
  expect(screen.getByText("400 MB of 1.60 GB · 50.0 MB/s · 24 s left")).toBeVisible();
  act(() => {
    vi.advanceTimersByTime(5_100);
  });
  expect(screen.getByText("400 MB of 1.60 GB")).toBeVisible();
  vi.useRealTimers();
});

it("names apart what is on the disk for another row too", () => {
  show(model({ quantization: "4bit", disk_bytes: 14_050_000, shared_bytes: 8_190_000 }));
  expect(screen.getByText("5.86 MB").closest("[title]")).toHaveAttribute("title", "5.86 MB + 8.19 MB shared");
});

it("begins again with what is missing", () => {
  show(model({ status: "cancelled", quantization: "4bit", restarts_with: "quantize" }));
  expect(screen.getByRole("button", { name: "Quantize again Qwen3-0.6B" })).toBeVisible();
  cleanup();
  show(model({ status: "cancelled", quantization: "4bit", restarts_with: "download" }));
  expect(screen.getByRole("button", { name: "Download again Qwen3-0.6B" })).toBeVisible();
});

it("counts neither bytes nor checks of a quantization", () => {
  const work = { work: "quantize" as const, bytes_done: 0, bytes_total: 8_190_000, bytes_per_second: null };
  const row = (changes: Parameters<typeof progress>[0]) =>
    downloading({ status: "quantizing", quantization: "4bit", progress: progress({ ...work, ...changes }) });
  show(row({ phase: "resolving", waiting: true, files_done: 0, files_total: null, eta_seconds: null }));
  expect(screen.getByText("Waiting for a worker")).toBeVisible();
  expect(screen.queryByText(/ B of /)).toBeNull();
  cleanup();
  show(row({ phase: "checking", message: "loading the copy", files_done: 0, files_total: 3, eta_seconds: null }));
  expect(screen.getByText("Loading the copy")).toBeVisible();
  expect(screen.queryByText(/%/)).toBeNull();
});

it("tells quantizing by layers", () => {
  show(
    downloading({
      status: "quantizing",
      quantization: "4bit",
      progress: progress({
        phase: "quantizing",
        message: "quantizing layer 12 of 32",
        files_done: 12,
        files_total: 32,
      }),
    }),
  );
  expect(screen.getByText("Quantizing layer 12 of 32")).toBeVisible();
  expect(screen.getByRole("progressbar")).toHaveAttribute("aria-valuenow", "37");
});

it("offers deletion in its menu only when nothing is under way", async () => {
  const onAction = show(model());
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Delete…" }));
  expect(onAction).toHaveBeenCalledWith(expect.objectContaining({ id: "m1" }), "delete");
});

it("tells how far a load is and offers to stop it, once", async () => {
  const reading = {
    phase: "loading" as const,
    message: "reading weights",
    bytes_done: 300_000_000,
    bytes_total: 1_200_000_000,
    step: { name: "reading" as const, done: 3, total: 12 },
  };
  const since = new Date(Date.now() - 125_000).toISOString();
  const row = model({
    progress: progress({ ...reading, bytes_per_second: null, eta_seconds: null, started_at: since }),
  });
  const onAction = show(row);
  expect(screen.getByText("Loading")).toBeVisible();
  expect(screen.getByText("Reading weights 3 of 12")).toBeVisible();
  expect(screen.queryByText("Ready")).toBeNull();
  expect(screen.getByText("300 MB of 1.20 GB · 2 min")).toBeVisible();
  expect(screen.getByRole("progressbar")).toHaveAttribute("aria-valuenow", "25");
  expect(screen.queryByRole("button", { name: "Load Qwen3-0.6B" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Stop loading Qwen3-0.6B" }));
  expect(onAction).toHaveBeenCalledWith(row, "cancel");
  await expectAccessible();
  cleanup();

  show(
    model({
      progress: progress({ phase: "loading", stopping: true, message: "stopping", bytes_done: 0, bytes_total: null }),
    }),
  );
  expect(screen.getByText("Stopping")).toBeVisible();
  expect(screen.queryByText(/ of .* GB$/)).toBeNull();
  expect(screen.getByRole("button", { name: "Stop loading Qwen3-0.6B" })).toBeDisabled();
});

it("offers to unload a model whose files are gone, and nothing that needs them", async () => {
  const row = { ...LOADED, status: "missing" as const };
  const onAction = show(row);
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  expect(await screen.findByRole("menuitem", { name: "Unload" })).toBeVisible();
  for (const name of [/^Quantize/, /^Train/, /^Verify/]) expect(screen.queryByRole("menuitem", { name })).toBeNull();
  await userEvent.click(screen.getByRole("menuitem", { name: "Unload" }));
  expect(onAction).toHaveBeenCalledWith(row, "unload");
});

it("leads from a model that the Hub does not have to others of that name, and from unusable weights to others", () => {
  const failed = (id: string, code: string) =>
    downloading({ id, status: "failed", error: { code, message: "It failed.", hint: null } });
  show(failed("a", "hub_model_not_found"));
  const link = () => screen.getByRole("link", { name: "Look for another model" });
  expect(link()).toHaveAttribute("href", "/models?view=hub&find=Qwen3-0.6B");
  cleanup();
  for (const code of ["unsafe_weights", "already_quantized"]) {
    show(failed("a", code));
    expect(link()).toHaveAttribute("href", "/models?view=hub");
    cleanup();
  }
});

it("draws no bar and no figures where nothing is known, or hashing is not counted", () => {
  const verifying = { phase: "verifying" as const, bytes_total: 1_600_000_000, bytes_per_second: 0, eta_seconds: null };
  const bar = () => screen.queryByRole("progressbar");
  show(downloading({ progress: progress({ ...verifying, bytes_done: 1_600_000_000 }) }));
  expect(screen.getByText("Verifying hashes")).toBeVisible();
  expect(bar()).toBeNull();
  expect(screen.queryByText(/%|1.60 GB of/)).toBeNull();
  cleanup();
  show(downloading({ progress: progress({ ...verifying, bytes_done: 800_000_000 }) }));
  expect(bar()).toHaveAttribute("aria-valuenow", "50");
  expect(screen.getByText(/^800 MB of 1.60 GB/)).toBeVisible();
  cleanup();
  show(downloading({ progress: progress({ phase: "resolving", bytes_done: 0, bytes_total: null }), size_bytes: null }));
  expect(screen.getByText("Looking up files")).toBeVisible();
  expect(bar()).toBeNull();
});

it("shows no fit as known and offers only to pause while the server does not answer", async () => {
  useModelsStore.setState({ conn: "stale" });
  show(model());
  expect(screen.getByText("fits").closest("[data-verdict]")).toHaveAttribute("data-verdict", "unknown");
  const load = screen.getByRole("button", { name: "Load Qwen3-0.6B" });
  expect(load).toBeDisabled();
  expect(load).toHaveAttribute("title", "The server does not answer");
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  for (const name of ["Quantize to 4-bit…", "Verify the files", "Delete…"]) {
    const item = await screen.findByRole("menuitem", { name });
    expect(item).toBeDisabled();
    expect(item).toHaveAttribute("title", "The server does not answer");
  }
  cleanup();
  const error = { code: "out_of_memory", message: "Not enough memory.", hint: null };
  show(model({ error }));
  expect(screen.getByRole("button", { name: "Quantize to 4-bit…" })).toBeDisabled();
  cleanup();
  show(downloading({ status: "failed" }));
  expect(screen.getByRole("button", { name: "Retry Qwen3-0.6B" })).toBeDisabled();
  cleanup();
  show(downloading());
  expect(screen.getByRole("button", { name: "Pause Qwen3-0.6B" }), "its failure tells").toBeEnabled();
  useModelsStore.setState({ conn: "connecting" });
});

const COPY = model({
  id: "m4",
  quantization: "4bit",
  memory_estimated_bytes: 545_000_000,
  loaded: true,
  used_by: LOADED.used_by,
});
const GGUF = model({ id: "g", converted_from: "Q4_K_M", commit: "e".repeat(40), update_available: true });
const LORA = adapter({ base_id: "m1" });

it("shows a model once, with its precisions, conversions and adapters, each with its own state and actions", async () => {
  const onAction = show(model(), undefined, [LORA, GGUF, COPY]);
  expect(screen.getAllByRole("article")).toHaveLength(1);
  const variant = (name: string) => within(screen.getByRole("group", { name }));
  expect(variant("Qwen3-0.6B, full precision, bfloat16").getByText("Ready")).toBeVisible();
  const copy = variant("Qwen3-0.6B, 4-bit");
  expect(copy.getByText("545 MB")).toBeVisible();
  expect(copy.getByText("Loaded on cpu of lab")).toBeVisible();
  expect(copy.getByRole("link", { name: "Try it: Qwen3-0.6B" })).toHaveAttribute("href", "/models/m4?tab=try");
  const lora = variant("lora, adapter");
  expect(lora.getByRole("link", { name: /lora/ })).toHaveAttribute("href", "/models/a1");
  await userEvent.click(lora.getByRole("button", { name: "Load lora" }));
  expect(onAction).toHaveBeenLastCalledWith(LORA, "load");
  const conversion = screen.getByText("Q4_K_M").closest("[role=group]");
  expect(conversion).toHaveTextContent("Update available");
  await expectAccessible();
});

it("shows the version in use first, and of the other one that it is not", async () => {
  const before = model({ id: "m0", commit: "b".repeat(40), replaced_by: "m1", created_at: "2027-01-01T00:00:00.000Z" });
  const onAction = show(before, undefined, [model({ previous_commit: "b".repeat(40), pinned_commit: null })]);
  const [current, replaced] = screen.getAllByRole("group");
  expect(replaced).toHaveTextContent("bbbbbbb");
  expect(replaced).toHaveTextContent("Replaced by another version");
  expect(current).not.toHaveTextContent("Replaced");
  const menus = screen.getAllByRole("button", { name: /^More actions for Qwen3-0.6B, / });
  await userEvent.click(menus[1] ?? document.body);
  await userEvent.click(await screen.findByRole("menuitem", { name: "Use this version…" }));
  expect(onAction).toHaveBeenLastCalledWith(before, "use-version");
  await userEvent.click(menus[0] ?? document.body);
  await userEvent.click(await screen.findByRole("menuitem", { name: "Roll back…" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "rollback");
});

it("offers to delete several where there are several", async () => {
  const onAction = show(model(), undefined, [COPY]);
  await userEvent.click(screen.getByRole("button", { name: "More actions for Qwen3-0.6B" }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Delete several…" }));
  expect(onAction).toHaveBeenLastCalledWith(expect.objectContaining({ id: "m1" }), "delete-all");
  cleanup();
  show(model(), undefined, [downloading({ id: "d", quantization: "4bit" })]);
  await userEvent.click(screen.getByRole("button", { name: "More actions for Qwen3-0.6B" }));
  expect(await screen.findByRole("menuitem", { name: "Tags and note…" })).toBeVisible();
  expect(screen.queryByRole("menuitem", { name: "Delete several…" })).toBeNull();
});

it("offers to remove the original of a copy, unless that is installed itself", async () => {
  const copy = model({ quantization: "4bit", original_bytes: 269_000_000 });
  const onAction = show(copy);
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Remove the original files, 269 MB…" }));
  expect(onAction).toHaveBeenLastCalledWith(copy, "drop-original");
  cleanup();
  show({ ...copy, shared_bytes: 269_000_000 });
  await userEvent.click(screen.getByRole("button", { name: /^More actions for Qwen3-0.6B, / }));
  expect(await screen.findByRole("menuitem", { name: "Delete…" })).toBeVisible();
  expect(screen.queryByRole("menuitem", { name: /^Remove the original/ })).toBeNull();
});
