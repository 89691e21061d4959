import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { doNow } from "../../lib/later";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { adapter, downloading, hit, loadedModel, model, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { DeletionPlanRequest, Model } from "../../types/model";
import { applyList } from "../../stores/applyEvents";
import { ModelsPanel } from "./ModelsPanel";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };

beforeEach(() => {
  useSystemStore.setState({ system: system(), loaded: [], error: null });
  useModelsStore.setState({ ...EMPTY, load: { state: "idle" } });
});

function show(models: Model[], path = "/models") {
  useModelsStore.setState({ ...applyList(EMPTY, models), load: { state: "ready" } });
  return renderPage(
    <Routes>
      <Route path="models" element={<ModelsPanel />} />
    </Routes>,
    path,
  );
}

const MODELS = [
  model({ id: "a", model_id: "Qwen/Qwen3-0.6B" }),
  model({ id: "b", model_id: "gpt2", architecture: "GPT2LMHeadModel", model_type: "gpt2", quantization: "4bit" }),
  downloading({
    id: "c",
    model_id: "EleutherAI/pythia-70m",
    model_type: "gpt_neox",
    architecture: "GPTNeoXForCausalLM",
  }),
];

it("shows the yard and the models", async () => {
  show(MODELS);
  expect(
    screen.getByRole("img", { name: /System memory, 25.0 GB; 5.00 GB used by others; 20.0 GB free/ }),
  ).toBeVisible();
  expect(screen.getAllByRole("article")).toHaveLength(3);
  expect(screen.getByText("3 models")).toBeVisible();
  await expectAccessible();
});

it("opens the whole yard on demand", async () => {
  useSystemStore.setState({ loaded: [loadedModel()] });
  show(MODELS);
  expect(screen.queryByRole("list", { name: "Loaded models" })).toBeNull();
  const toggle = screen.getByRole("button", { name: "Show memory and disk" });
  expect(toggle).toHaveAttribute("aria-expanded", "false");
  await userEvent.click(toggle);
  const yard = screen.getByRole("group", { name: "Memory and disk of this machine" });
  expect(within(yard).getByRole("list", { name: "Loaded models" })).toHaveTextContent(/^Qwen3-0.6B/);
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Hide memory and disk" }));
  expect(yard).not.toBeInTheDocument();
});

it("shows the first models while the others are being read", () => {
  useModelsStore.setState({ ...applyList(EMPTY, MODELS), load: { state: "loading" } });
  renderPage(<ModelsPanel />);
  expect(screen.getAllByRole("article")).toHaveLength(3);
  expect(screen.getByText("3 models, more are coming")).toBeVisible();
});

it("lays the model that is pointed at over the bars", async () => {
  show(MODELS);
  await userEvent.hover(screen.getByRole("group", { name: /^Qwen3-0.6B/ }));
  expect(await screen.findByTestId("ghost-cpu")).toHaveAttribute("data-verdict", "fits");
  expect(screen.getByText("fits, 18.8 GB left")).toBeVisible();
  // It is on the disk already.
  expect(screen.queryByTestId("ghost-/cache")).toBeNull();
});

it("filters from the address, counts, and clears", async () => {
  show(MODELS, "/models?q=qwen&status=ready");
  expect(screen.getAllByRole("article")).toHaveLength(1);
  expect(screen.getByText("1 of 3 models")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Filter (1)" }));
  await userEvent.selectOptions(await screen.findByRole("combobox", { name: "Precision" }), "4bit");
  expect(await screen.findByText("No model matches")).toBeVisible();
  expect(screen.getByText("The filter is “qwen”, status ready, precision 4-bit.")).toBeVisible();
  await userEvent.keyboard("{Escape}");
  await userEvent.click(screen.getByRole("button", { name: "Clear the filters" }));
  expect(screen.getAllByRole("article")).toHaveLength(3);
});

it("filters by what is noted, and keeps that in the address", async () => {
  show([...MODELS, model({ id: "d", model_id: "lab/noted", tags: ["baseline"], favourite: true })]);
  await userEvent.click(screen.getByRole("button", { name: "Filter" }));
  const dialog = await screen.findByRole("dialog", { name: "Filter" });
  await expectAccessible();
  await userEvent.click(within(dialog).getByRole("checkbox", { name: "Favourites only" }));
  await userEvent.selectOptions(within(dialog).getByRole("combobox", { name: "Tag" }), "baseline");
  expect(screen.getByText("1 of 4 models")).toBeVisible();
  expect(screen.getByRole("button", { name: "Filter (2)" })).toBeVisible();
  await userEvent.click(within(dialog).getByRole("button", { name: "Clear the filters" }));
  expect(screen.getByText("4 models")).toBeVisible();
});

it("changes the tags of a model from its card", async () => {
  const row = model({ id: "d", model_id: "lab/noted" });
  server.use(http.patch(api("/models/d"), () => HttpResponse.json({ ...row, tags: ["baseline"] })));
  const user = userEvent.setup();
  show([row]);
  await user.click(screen.getByRole("button", { name: "More actions for noted" }));
  await user.click(await screen.findByRole("menuitem", { name: "Tags and note…" }));
  const dialog = await screen.findByRole("dialog", { name: "Tags and note of noted" });
  await user.type(within(dialog).getByRole("combobox", { name: "Tags" }), "baseline{Enter}");
  await user.click(within(dialog).getByRole("button", { name: "Save" }));
  expect(await screen.findByRole("link", { name: "baseline" })).toBeVisible();
});

it("offers to clear a search that nothing matches, or to ask the Hub the same", async () => {
  show(MODELS, "/models?q=nothing+like+it");
  expect(screen.getByText("The search is “nothing like it”.")).toBeVisible();
  expect(screen.queryByRole("button", { name: "Select" })).toBeNull();
  expect(screen.getByRole("link", { name: "Search the Hub for it" })).toHaveAttribute(
    "href",
    "/models?view=hub&find=nothing%20like%20it",
  );
  await userEvent.click(screen.getByText("Clear the search"));
  expect(screen.getAllByRole("article")).toHaveLength(3);
  const select = screen.getByRole("button", { name: "Select" });
  await userEvent.click(select);
  expect(screen.getByRole("group", { name: "The selected models" })).toBeVisible();
  expect(select).toHaveAttribute("aria-pressed", "true");
  expect(select).toHaveFocus();
  await userEvent.click(select);
  expect(screen.queryByRole("group", { name: "The selected models" })).toBeNull();
});

it("asks for no token where the samples are served, and for another where one is refused", () => {
  const { hub } = system();
  useSystemStore.setState({ system: system({ hub: { ...hub, token: "invalid" } }) });
  show([]);
  expect(screen.getByRole("link", { name: "Replace the token" })).toHaveAttribute("href", "/settings");
  act(() => useSystemStore.setState({ system: system({ hub: { ...hub, endpoint_source: "builtin" } }) }));
  expect(screen.queryByText(/Hub token/)).toBeNull();
});

it("welcomes with the machine and first steps when there is nothing", async () => {
  server.use(http.get(api("/models/search"), () => HttpResponse.json({ items: [hit({ model_id: "gpt2" })] })));
  show([]);
  expect(screen.getByRole("heading", { name: "Get a first model" })).toBeVisible();
  expect(screen.getByText(/System memory: 20.0 GB free of 25.0 GB/)).toBeVisible();
  expect(screen.getByText("No GPU found; models run on the CPU.")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: /gpt2/ }));
  expect(await screen.findByRole("combobox", { name: "Model" })).toHaveValue("gpt2");
});

it("says when the server does not describe its machine, and asks again", async () => {
  useSystemStore.setState({
    system: null,
    error: { code: "internal_error", message: "The disks could not be read.", hint: null },
  });
  show([]);
  const alert = screen.getByRole("alert");
  expect(alert).toHaveTextContent("System information is not available");
  await userEvent.click(within(alert).getByRole("button", { name: "Try again" }));
  expect(await screen.findByText(/System memory: 20.0 GB free of 25.0 GB/)).toBeVisible();
});

it("begins with models that fit, as the Hub tells their sizes, and other ways in", async () => {
  const sizes: Record<string, number | null> = {
    gpt2: 137_022_720,
    "EleutherAI/pythia-70m": 70e9,
    "Qwen/Qwen3-0.6B": null,
  };
  server.use(
    http.get(api("/models/search"), ({ request }) => {
      const q = new URL(request.url).searchParams.get("q") ?? "";
      const model_id = q === "gpt2" ? "openai-community/gpt2" : q;
      const found = q in sizes ? [hit({ model_id, num_parameters: sizes[q] ?? null })] : [];
      return HttpResponse.json({ items: [hit({ model_id: `${q}-other`, num_parameters: 1 }), ...found] });
    }),
  );
  show([]);
  expect(await screen.findByRole("button", { name: /gpt2.*137 M.*fits/ })).toBeVisible();
  expect(screen.queryByRole("button", { name: /pythia/ })).toBeNull();
  expect(screen.getByRole("button", { name: "Qwen/Qwen3-0.6B" })).toBeVisible();
  expect(screen.queryByRole("button", { name: /SmolLM2/ }), "this Hub does not have it").toBeNull();
  for (const link of screen.getAllByRole("link", { name: "Add local" }))
    expect(link).toHaveAttribute("href", expect.stringMatching(/\?add=?$/));
  expect(screen.getByText(/need a Hub token/)).toBeVisible();
  expect(screen.getByRole("link", { name: "Search the Hub" })).toHaveAttribute("href", "/models?view=hub");
});

it("begins with what a Hub lists that has none of the usual ones", async () => {
  server.use(
    http.get(api("/models/search"), ({ request }) => {
      const all = new URL(request.url).searchParams.get("q") === null;
      return HttpResponse.json({ items: all ? [hit({ model_id: "lab/only" })] : [] });
    }),
  );
  show([]);
  expect(await screen.findByRole("button", { name: /lab\/only/ })).toBeVisible();
  expect(screen.queryByRole("button", { name: /gpt2/ })).toBeNull();
});

it("shows what is here or what the Hub has, and keeps that in the address", async () => {
  server.use(
    http.get(api("/models/search"), () => HttpResponse.json({ items: [hit(), hit({ model_id: "lab/new" })] })),
  );
  show(MODELS);
  expect(screen.getByRole("tab", { name: "Installed (3)" })).toHaveAttribute("aria-selected", "true");
  await userEvent.click(screen.getByRole("tab", { name: "Hub" }));
  expect(await screen.findByRole("link", { name: "Open Qwen3-0.6B" })).toHaveAttribute("href", "/models/a?view=hub");
  expect(screen.queryByRole("article")).toBeNull();
  await userEvent.keyboard("/");
  expect(screen.getByRole("textbox", { name: "Search the Hub" })).toHaveFocus();
  await userEvent.hover(screen.getByRole("button", { name: "Download new" }));
  expect(await screen.findByTestId("ghost-cpu")).toHaveAttribute("data-verdict", "fits");
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Download new" }));
  expect(await screen.findByRole("combobox", { name: "Model" })).toHaveValue("lab/new");
});

it("offers the sample Hub on first run without internet", () => {
  useSystemStore.setState({
    system: system({ hub: { ...system().hub, reachable: false, reason: "Name or service not known." } }),
  });
  show([]);
  expect(screen.getByText("The Hub at https://huggingface.co does not answer")).toBeVisible();
  expect(screen.getByRole("button", { name: "Use the built-in sample Hub" })).toBeVisible();
});

it("says why the list could not be read", async () => {
  server.use(http.get(api("/models"), () => refuse(problem(500, "internal_error", "The database is locked."))));
  renderPage(
    <Routes>
      <Route path="models" element={<ModelsPanel />} />
    </Routes>,
  );
  await useModelsStore.getState().fetchModels();
  expect(await screen.findByText(/The database is locked/)).toBeVisible();
  expect(screen.getByRole("button", { name: "Try again" })).toBeVisible();
});

it("opens the form with n, and takes no keys of the page's own while it is open", async () => {
  const user = userEvent.setup();
  show(MODELS);
  await user.keyboard("n");
  const form = await screen.findByRole("dialog", { name: "Download a model" });
  await user.click(within(form).getByText("Download a model"));
  await user.keyboard("/");
  expect(screen.getByRole("textbox", { name: "Search models", hidden: true })).not.toHaveFocus();
  await user.keyboard("{Escape}");
  await waitFor(() => expect(form).not.toBeInTheDocument());
  expect(document.title).toBe("25 % · Models · Modelyard");
});

it("asks before it cancels from a card's menu", async () => {
  const sent: string[] = [];
  server.use(
    http.post(api("/models/c/:action"), ({ params }) => {
      sent.push(String(params.action));
      return HttpResponse.json(downloading({ id: "c", model_id: "EleutherAI/pythia-70m" }), { status: 202 });
    }),
  );
  const user = userEvent.setup();
  show(MODELS);
  await user.click(screen.getByRole("button", { name: /^More actions for pythia-70m, / }));
  await user.click(await screen.findByRole("menuitem", { name: "Cancel and remove…" }));
  await user.click(await screen.findByRole("button", { name: "Discard 400 MB" }));
  await waitFor(() => expect(sent).toEqual(["cancel"]));
});

it("counts repositories, and deletes some variants of one with exact bytes", async () => {
  const rows = [
    model({ id: "a" }),
    model({ id: "a4", quantization: "4bit" }),
    adapter({ id: "l", base_id: "a" }),
    model({ id: "b", model_id: "gpt2" }),
  ];
  const planned: string[][] = [];
  const deleted: string[] = [];
  server.use(
    http.post(api("/models/deletion-plan"), async ({ request }) => {
      const { ids, with_original } = (await request.json()) as DeletionPlanRequest;
      planned.push(ids);
      const whole = ids.includes("a4") || with_original;
      const row = {
        kept_bytes: 0,
        kept_because: [],
        original_bytes: whole ? 0 : 1e9,
        shared_cache: false,
        stays: false,
      };
      const items = ids.map((id) => ({ ...row, id, freed_bytes: whole ? 5e8 : 0 }));
      const freed_bytes = items.reduce((sum, item) => sum + item.freed_bytes, 0);
      return HttpResponse.json({ freed_bytes, original_bytes: whole ? 0 : 1e9, items });
    }),
    http.delete(api("/models/:id"), ({ params, request }) => {
      deleted.push(`${String(params.id)}${new URL(request.url).search}`);
      return HttpResponse.json({ freed_bytes: 5e8, kept_bytes: 0, kept_because: [], shared_cache: false });
    }),
  );
  const user = userEvent.setup();
  show(rows);
  expect(screen.getByRole("tab", { name: "Installed (2)" })).toBeVisible();
  expect(screen.getAllByRole("article")).toHaveLength(2);
  await user.click(screen.getByRole("button", { name: "More actions for Qwen3-0.6B" }));
  await user.click(await screen.findByRole("menuitem", { name: "Delete several…" }));
  const dialog = await screen.findByRole("dialog", { name: "Delete Qwen3-0.6B" });
  expect(await within(dialog).findByRole("button", { name: "Delete 2, free 1.00 GB" })).toBeEnabled();
  // An adapter is a repository of its own: it goes when it is ticked.
  expect(within(dialog).getByRole("checkbox", { name: "lora, adapter" })).not.toBeChecked();
  await user.click(within(dialog).getByRole("checkbox", { name: "Qwen3-0.6B, 4-bit" }));
  await user.click(await within(dialog).findByRole("checkbox", { name: /^Also remove the original files, 1.00 GB/ }));
  await expectAccessible();
  const confirm = await within(dialog).findByRole("button", { name: "Delete 1, free 500 MB" });
  await waitFor(() => expect(confirm).toBeEnabled());
  await user.click(confirm);
  act(doNow);
  expect(await screen.findByText("500 MB freed.")).toBeVisible();
  expect(planned[0]).toEqual(["a", "a4"]);
  expect(deleted).toEqual(["a?with_original=true"]);
});

it("moves between cards with the arrow keys", async () => {
  show(MODELS);
  const scrolled = vi.spyOn(Element.prototype, "scrollIntoView");
  const links = screen.getAllByRole("link", { name: /Qwen3-0.6B|gpt2|pythia-70m/ });
  links[0]?.focus();
  await userEvent.keyboard("{ArrowDown}");
  expect(links[1]).toHaveFocus();
  expect(scrolled.mock.contexts).toEqual([links[1]?.closest("[data-card-index]")]);
  await userEvent.keyboard("{ArrowUp}{ArrowUp}");
  expect(links[0]).toHaveFocus();
  scrolled.mockRestore();
});
