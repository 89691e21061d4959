import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { applyList } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { disk as diskOf, downloading, estimate, GB, info, model, option, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { Model, ModelInfo, SettingsChange } from "../../types/model";
import { ModelDownloadForm } from "./ModelDownloadForm";

const NO_MODELS = { byId: {}, ids: [], live: {}, pending: {} };

beforeEach(() => {
  useSystemStore.setState({ system: system(), loaded: [], error: null });
  useModelsStore.setState({ ...NO_MODELS, conn: "live", load: { state: "ready" } });
});

function tell(changes: Partial<ModelInfo>) {
  server.use(http.get(api("/models/info/*"), () => HttpResponse.json(info(changes))));
}

/** As the API answers for a repository whose only weights are pickle files. */
const PICKLE: Partial<ModelInfo> = {
  size_bytes: 1_503_300_328,
  missing_bytes: 1_503_300_328,
  files: [
    {
      path: "pytorch_model.bin",
      size_bytes: 1_503_300_000,
      sha256: "ab".repeat(32),
      fetch: true,
      reason: "pickle weights: only with your consent",
    },
  ],
  support: {
    level: "unverified",
    reasons: [
      {
        code: "unsafe_weights",
        message:
          "Only pickle weights: loading them can run code, so they are refused unless you allow them for this model. " +
          "Memory figures come from config.json and are not checked against the files.",
      },
    ],
  },
};

function show(initial = "") {
  const onDone = vi.fn();
  renderPage(<ModelDownloadForm initial={initial} onDone={onDone} />);
  return onDone;
}

const verdict = (name: RegExp) => within(screen.getByRole("row", { name })).getAllByRole("cell").at(-2)?.textContent;
const disk = (name: RegExp) => within(screen.getByRole("row", { name })).getAllByRole("cell").at(-3)?.textContent;

const field = () => screen.getByRole("combobox", { name: "Model" });

it("goes from typed letters to a started download", async () => {
  const user = userEvent.setup();
  const body = vi.fn();
  server.use(
    http.get(api("/models/search"), ({ request }) => {
      const q = new URL(request.url).searchParams.get("q") ?? "";
      const items =
        q === "qwen3"
          ? [
              {
                model_id: "Qwen/Qwen3-0.6B",
                downloads: 5000,
                likes: 1,
                num_parameters: 596_049_920,
                weights_bytes: 1_192_099_840,
                fits: "fits",
                size_bytes: null,
                access: "needs_acceptance",
                pipeline_tag: null,
                licence: null,
                model_type: "qwen3",
                installed: false,
              },
            ]
          : [];
      return HttpResponse.json({ items });
    }),
    http.post(api("/models/download"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(downloading({ status: "pending" }), { status: 202 });
    }),
  );
  const onDone = show();
  await user.type(field(), "qwen3");
  const found = await screen.findByRole("option", { name: /Qwen\/Qwen3-0.6B/ });
  expect(found).toHaveTextContent("≈ fits596 M parameters · 5,000 downloads · 1 like · gated");
  await user.click(found);

  const about = await screen.findByRole("region", { name: "About Qwen/Qwen3-0.6B" });
  for (const text of [
    "596 M",
    "Qwen3ForCausalLM",
    "28 layers × 1024, 40,960 context",
    "apache-2.0",
    "open to everyone",
    "supported",
  ]) {
    expect(within(about).getByText(text)).toBeVisible();
  }
  expect(screen.getByRole("button", { name: "1 file; 1 skipped" })).toBeVisible();
  await screen.findByText(/^Exact: /);
  expect(screen.getByRole("radio", { name: /bfloat16/ })).toBeChecked();
  expect(verdict(/^Full precision/)).toBe("fits18.5 GB left");
  await expectAccessible();

  await user.click(screen.getByRole("radio", { name: /4-bit/ }));
  await user.click(screen.getByRole("button", { name: "Download 1.50 GB" }));
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith({
    model_id: "Qwen/Qwen3-0.6B",
    revision: null,
    quantization: "4bit",
    keep_original: true,
    allow_pickle: false,
    allow_unsupported: false,
    gguf_file: null,
    with_base: false,
  });
});

it("shows the card of the very commit: beside the figures, or on demand where there is no room", async () => {
  const user = userEvent.setup();
  const asked = vi.fn();
  server.use(
    http.get(api("/models/card"), ({ request }) => {
      asked(new URL(request.url).searchParams.get("revision"));
      return HttpResponse.json({ html: "<p>A small model.</p>", text: "A small model.", truncated: false });
    }),
  );
  const { unmount } = renderPage(<ModelDownloadForm initial="Qwen/Qwen3-0.6B" onDone={() => undefined} />);
  const line = await screen.findByRole("button", { name: "Model card" });
  expect(asked).not.toHaveBeenCalled();
  await user.click(line);
  expect(await screen.findByText("A small model.")).toBeVisible();
  expect(asked).toHaveBeenCalledWith(info().commit);
  unmount();

  const query = window.matchMedia("(min-width: 75em)");
  const wide = vi.spyOn(window, "matchMedia").mockReturnValue(Object.assign(query, { matches: true }));
  try {
    show("Qwen/Qwen3-0.6B");
    const frame = await screen.findByRole("region", { name: "Model card" });
    expect(await within(frame).findByText("A small model.")).toBeVisible();
    expect(screen.queryByRole("button", { name: "Model card" })).toBeNull();
    await expectAccessible();
  } finally {
    wide.mockRestore();
  }
});

it("takes a pasted address with its revision", async () => {
  const user = userEvent.setup();
  const asked = vi.fn();
  server.use(
    http.get(api("/models/info/*"), ({ request }) => {
      const url = new URL(request.url);
      asked(url.pathname.split("/info/")[1], url.searchParams.get("revision"));
      return HttpResponse.json(info());
    }),
  );
  show();
  await user.click(field());
  await user.paste("https://huggingface.co/EleutherAI/pythia-70m/tree/step1000");
  await screen.findByRole("region", { name: /About/ });
  expect(asked).toHaveBeenCalledWith("EleutherAI/pythia-70m", "step1000");
  expect(screen.getByRole("textbox", { name: "Revision" })).toHaveValue("step1000");
});

it("says how a model is written when it cannot be one", async () => {
  const user = userEvent.setup();
  show();
  await user.type(field(), "not a model{Enter}");
  expect(await screen.findByText(/Enter owner\/name/)).toBeVisible();
});

it("says which Hub does not answer, and goes on with the built-in one", async () => {
  const user = userEvent.setup();
  let change: SettingsChange | null = null;
  server.use(
    http.get(api("/models/info/*"), () =>
      change === null
        ? refuse(problem(502, "hub_unreachable", "Name or service not known."))
        : HttpResponse.json(info()),
    ),
    http.put(api("/settings"), async ({ request }) => {
      change = (await request.json()) as SettingsChange;
      return HttpResponse.json({});
    }),
  );
  show("Qwen/Qwen3-0.6B");
  expect(await screen.findByText("The Hub at https://huggingface.co does not answer")).toBeVisible();
  expect(screen.getByText(/Name or service not known/)).toBeVisible();
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "Use the built-in sample Hub" }));
  expect(await screen.findByRole("region", { name: /About/ })).toBeVisible();
  expect(change).toEqual({ endpoint: "builtin" });
});

it("leads from a gated model to its page instead of a failing download", async () => {
  server.use(http.get(api("/models/info/*"), () => HttpResponse.json(info({ access: "needs_acceptance" }))));
  show("Qwen/Qwen3-0.6B");
  expect(await screen.findByRole("link", { name: "Open the model's page" })).toHaveAttribute(
    "href",
    "https://huggingface.co/Qwen/Qwen3-0.6B",
  );
  expect(screen.queryByRole("button", { name: /^Download/ })).toBeNull();
  expect(screen.getByText(/the terms are not accepted yet/)).toBeVisible();
});

it("leads to the settings where a token is missing", async () => {
  server.use(http.get(api("/models/info/*"), () => HttpResponse.json(info({ access: "no_token" }))));
  show("Qwen/Qwen3-0.6B");
  const links = await screen.findAllByRole("link", { name: "Set a token" });
  for (const link of links) expect(link).toHaveAttribute("href", "/settings");
});

it("says that a model does not exist, and first how to find another", async () => {
  const hint = "Check the spelling.";
  server.use(
    http.get(api("/models/info/*"), () =>
      refuse(problem(404, "hub_model_not_found", "nope/none is not on the Hub.", { hint })),
    ),
  );
  show("nope/none");
  const alert = (await screen.findByText("Model nope/none not found on this Hub")).closest("[role=alert]");
  expect(alert).toHaveTextContent(
    "Model nope/none not found on this HubCheck the spelling. More about this errorSearch for similar namesTry againSet a token",
  );
  const similar = screen.getByRole("link", { name: "Search for similar names" });
  expect(similar).toHaveAttribute("href", "/models?view=hub&find=none");
  expect(screen.queryByRole("button", { name: /^Download/ })).toBeNull();
});

it("says that the built-in Hub has few models, and leads to another Hub", async () => {
  const { hub } = system();
  useSystemStore.setState({
    system: system({ hub: { ...hub, endpoint: "http://127.0.0.1:58737/hub", endpoint_source: "builtin" } }),
  });
  const message = "There is no model 'nope/none' on http://127.0.0.1:58737/hub.";
  server.use(http.get(api("/models/info/*"), () => refuse(problem(404, "hub_model_not_found", message))));
  show("nope/none");
  expect(await screen.findByText("Model nope/none not found on this Hub")).toBeVisible();
  expect(screen.getByText("The built-in sample Hub has only its own small models.")).toBeVisible();
  expect(screen.queryByText(/127\.0\.0\.1/)).toBeNull();
  expect(screen.getByRole("link", { name: "Choose another Hub" })).toHaveAttribute("href", "/settings");
  expect(screen.queryByRole("link", { name: "Set a token" })).toBeNull();
});

it("fetches what cannot be loaded here all the same, for other programs", async () => {
  const user = userEvent.setup();
  const body = vi.fn();
  const message =
    "This model is defined by code in the repository ('odd'), which Modelyard never runs; only the size of its files is known.";
  tell({
    needs_custom_code: true,
    support: { level: "unsupported", reasons: [{ code: "needs_custom_code", message }] },
  });
  const refused = { available: false, note: message };
  server.use(
    http.get(api("/models/estimate-memory"), () =>
      HttpResponse.json(
        estimate({
          method: "approximate",
          method_reason: message.replace(/\.$/, ""),
          kv_cache_segments: [],
          options: [
            option({ ...refused, weights_bytes: 1.4 * GB, total_is_lower_bound: true }),
            option({ ...refused, quantization: "8bit", weights_bytes: null, total_bytes: null }),
            option({ ...refused, quantization: "4bit", weights_bytes: null, total_bytes: null }),
          ],
        }),
      ),
    ),
    http.post(api("/models/download"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(downloading({ status: "pending" }), { status: 202 });
    }),
  );
  const onDone = show("x/y");
  const about = await screen.findByRole("region", { name: /About/ });
  expect(within(about).getByText(message)).toBeVisible();
  expect(within(about).getAllByText(/never run/)).toHaveLength(1);
  expect(await screen.findByText("1.40 GB of weights. Not available.")).toBeVisible();
  expect(screen.queryByRole("slider")).toBeNull();
  expect(screen.getByText(/The files are downloaded for use with other programs/)).toBeVisible();
  expect(screen.queryByText(/^fits/)).toBeNull();
  await expectAccessible();
  await user.click(await screen.findByRole("button", { name: "Download anyway 1.50 GB" }));
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith(expect.objectContaining({ quantization: "none", allow_unsupported: true }));
});

it("offers no download where there are no weights to fetch", async () => {
  const asked = vi.fn();
  server.use(http.get(api("/models/estimate-memory"), asked));
  const message = "Only ONNX weights, which PyTorch does not load.";
  tell({
    files: [
      { path: "m.onnx", size_bytes: GB, sha256: null, fetch: false, reason: "ONNX weights: not used by transformers" },
      { path: "config.json", size_bytes: 600, sha256: null, fetch: true, reason: "configuration" },
    ],
    support: { level: "unsupported", reasons: [{ code: "no_weights", message }] },
  });
  show("x/y");
  expect(await screen.findByText(message)).toBeVisible();
  expect(screen.getByText("This repository has no weights to download.")).toBeVisible();
  expect(screen.getByRole("button", { name: /^Download/ })).toBeDisabled();
  expect(asked).not.toHaveBeenCalled();
});

const GGUF: ModelInfo["gguf_files"][number] = {
  path: "m.Q4_K_M.gguf",
  size_bytes: 0.8 * GB,
  quantization_type: "Q4_K_M",
  weights_bytes: 2.5 * GB,
  num_parameters: 1.25 * GB,
  dtype: "bfloat16",
  architecture: "llama",
  context_length: 8192,
  has_chat_template: true,
  problem: null,
};

it("fetches and converts the GGUF file that was chosen", async () => {
  const user = userEvent.setup();
  const body = vi.fn();
  const refusal = "m.clip.gguf has the architecture 'clip', which transformers does not read from GGUF files.";
  tell({
    files: [{ path: GGUF.path, size_bytes: GGUF.size_bytes, sha256: null, fetch: false, reason: "GGUF weights" }],
    gguf_files: [GGUF, { ...GGUF, path: "m.clip.gguf", problem: refusal }],
    support: { level: "unsupported", reasons: [{ code: "gguf_only", message: "Only GGUF files." }] },
  });
  server.use(
    http.post(api("/models/download"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(downloading({ status: "pending", converted_from: "Q4_K_M" }), { status: 202 });
    }),
  );
  const onDone = show("x/y");
  const choice = await screen.findByRole("combobox", { name: "GGUF file" });
  expect(screen.getByText(refusal)).toBeVisible();
  expect(screen.queryByRole("button", { name: /^Download/ })).toBeNull();
  await user.selectOptions(choice, "m.Q4_K_M.gguf (Q4_K_M, 800 MB)");
  expect(screen.getByText("Takes 2.50 GB of memory in bfloat16.")).toBeVisible();
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "Download and convert 800 MB" }));
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith(expect.objectContaining({ gguf_file: "m.Q4_K_M.gguf" }));
});

it("lets a person accept pickle weights, and only then", async () => {
  const user = userEvent.setup();
  const body = vi.fn();
  tell(PICKLE);
  server.use(
    http.post(api("/models/download"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(downloading({ status: "pending" }), { status: 202 });
    }),
  );
  const onDone = show("x/y");
  const accept = await screen.findByRole("checkbox", { name: /Accept pickle weights/ });
  await screen.findByText(/^Exact: /);
  expect(screen.getByText("Accept the pickle weights above to download them.")).toBeVisible();
  expect(screen.getByRole("button", { name: "Download 1.50 GB" })).toBeDisabled();
  await user.click(accept);
  await user.click(screen.getByRole("button", { name: "Download 1.50 GB" }));
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith(expect.objectContaining({ allow_pickle: true }));
});

it("says what each precision means for the disk, with the original and without", async () => {
  const user = userEvent.setup();
  show("Qwen/Qwen3-0.6B");
  await screen.findByText(/^Exact: /);
  expect(disk(/^Full precision/)).toBe("1.50 GB");
  expect(disk(/^4-bit/)).toBe("2.00 GB");
  expect(screen.getByText("Disk: 200 GB free")).toBeVisible();
  await user.click(screen.getByRole("button", { name: "Details of 4-bit" }));
  expect(screen.getByText("On disk without the original 500 MB")).toBeVisible();
  expect(screen.getByRole("checkbox", { name: /Keep the original files/ })).toBeDisabled();
  await user.click(screen.getByRole("radio", { name: /4-bit/ }));
  await user.click(screen.getByRole("checkbox", { name: /Keep the original files/ }));
  expect(disk(/^4-bit/)).toBe("500 MB");
  expect(screen.getByText("On disk while it is made 2.00 GB")).toBeVisible();
});

it("marks the precisions that are here, shows them, and chooses one that is missing", async () => {
  const user = userEvent.setup();
  const rows: Model[] = [
    model({ id: "whole" }),
    downloading({ id: "coming", quantization: "8bit" }),
    model({ id: "gone", quantization: "4bit", status: "missing" }),
  ];
  useModelsStore.setState(applyList(NO_MODELS, rows));
  show("Qwen/Qwen3-0.6B");
  const full = await screen.findByRole("radio", { name: /^Full precision ?bfloat16 · installed/ });
  expect(screen.getByRole("radio", { name: /4-bit/ })).toBeChecked();
  await waitFor(() => expect(screen.getByRole("button", { name: "Download 1.50 GB" })).toBeEnabled());
  await user.click(full);
  expect(screen.getByRole("link", { name: "Show it" })).toHaveAttribute("href", "/models/whole");
  expect(screen.queryByRole("button", { name: /^Download/ })).toBeNull();
  await user.click(screen.getByRole("radio", { name: /^8-bit ?downloading/ }));
  expect(screen.getByRole("link", { name: "Show it" })).toHaveAttribute("href", "/models/coming");
});

it("chooses among all where every precision is here", async () => {
  const rows = (["none", "8bit", "4bit"] as const).map((quantization) => model({ id: quantization, quantization }));
  useModelsStore.setState(applyList(NO_MODELS, rows));
  show("Qwen/Qwen3-0.6B");
  expect(await screen.findByRole("link", { name: "Show it" })).toHaveAttribute("href", "/models/none");
});

it("starts a download before its memory is known", async () => {
  const user = userEvent.setup();
  const body = vi.fn();
  server.use(
    http.get(api("/models/estimate-memory"), () => new Promise<never>(() => undefined)),
    http.post(api("/models/download"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(downloading({ status: "pending" }), { status: 202 });
    }),
  );
  const onDone = show("Qwen/Qwen3-0.6B");
  const download = await screen.findByRole("button", { name: "Download 1.50 GB" });
  await waitFor(() => expect(download).toBeEnabled());
  const cells = within(screen.getByRole("row", { name: /^4-bit/ })).getAllByRole("cell");
  expect(cells.map((cell) => cell.textContent)).toEqual([
    "",
    "≈ 387 MB",
    "…",
    "…",
    "≥ 387 MB",
    "…",
    "≈ fitsat most 19.6 GB left",
    "",
  ]);
  expect(disk(/^Full precision/)).toBe("1.50 GB");
  await user.click(download);
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith(expect.objectContaining({ quantization: "none" }));
});

it("suggests a precision by the parameters until the memory is known, and keeps one that was chosen", async () => {
  const user = userEvent.setup();
  let answer: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => (answer = resolve));
  tell({ num_parameters: 15e9 });
  server.use(
    http.get(api("/models/estimate-memory"), async ({ request }) => {
      if (new URL(request.url).searchParams.get("parts") !== "weights") await waiting;
      return HttpResponse.json(estimate());
    }),
  );
  show("Qwen/Qwen3-0.6B");
  // 30 GB of 16-bit weights do not fit in 20 GB, 16.5 GB of 8-bit ones do.
  await waitFor(() => expect(screen.getByRole("radio", { name: /8-bit/ })).toBeChecked());
  await user.click(screen.getByRole("radio", { name: /4-bit/ }));
  answer();
  await screen.findByText(/^Exact: /);
  expect(screen.getByRole("radio", { name: /4-bit/ })).toBeChecked();
});

it("turns approximate figures into exact ones by itself", async () => {
  let asked = 0;
  server.use(
    http.get(api("/models/estimate-memory"), () => {
      asked += 1;
      return HttpResponse.json(
        asked === 1
          ? estimate({
              method: "approximate",
              method_reason:
                "computed from the weight files' headers alone: The inspector was busy with other questions",
              may_improve: true,
              options: [
                option({ weights_bytes: 1.2 * GB }),
                option({ quantization: "8bit" }),
                option({ quantization: "4bit" }),
              ],
            })
          : estimate(),
      );
    }),
  );
  show("Qwen/Qwen3-0.6B");
  await screen.findByText(/^Approximate/);
  expect(screen.getByText(/Retrying the rest/)).toBeVisible();
  expect(screen.getByRole("button", { name: "Download 1.50 GB" })).toBeEnabled();
  expect(await screen.findByText(/^Exact: /, {}, { timeout: 5000 })).toBeVisible();
  expect(screen.queryByText(/≈/)).toBeNull();
  expect(asked).toBe(2);
}, 10_000);

it("tells of a gated model what is known of it, and asks for nothing more", async () => {
  const asked = vi.fn();
  server.use(http.get(api("/models/estimate-memory"), asked));
  tell({ access: "no_token" });
  show("Qwen/Qwen3-0.6B");
  expect(await screen.findByText(/≈ 1.19 GB for the weights alone/)).toBeVisible();
  expect(screen.getByText(/is available after you get access/)).toBeVisible();
  expect(screen.queryByRole("alert")).toBeNull();
  expect(asked).not.toHaveBeenCalled();
});

it("says that a model was not checked in time, until the exact estimate has built it", async () => {
  let answer: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => (answer = resolve));
  server.use(
    http.get(api("/models/estimate-memory"), async () => {
      await waiting;
      return HttpResponse.json(estimate());
    }),
  );
  tell({ support: { level: "unverified", reasons: [{ code: "not_inspected", message: "No answer within 8 s." }] } });
  show("Qwen/Qwen3-0.6B");
  const about = await screen.findByRole("region", { name: /About/ });
  expect(within(about).getByText("not checked yet")).toBeVisible();
  expect(within(about).getByText("Not checked yet: the check took longer than 8 s.")).toBeVisible();
  expect(within(about).getByRole("button", { name: "Check again" })).toBeVisible();
  answer();
  expect(await within(about).findByText("supported")).toBeVisible();
  expect(within(about).queryByRole("button", { name: "Check again" })).toBeNull();
});

it("says what a search without a result means for what was typed", async () => {
  const user = userEvent.setup();
  show();
  await user.type(field(), "nobody/has-this");
  expect(
    await screen.findByText(/No results for “nobody\/has-this”. “Look up” tries exactly this name./),
  ).toBeVisible();
  await user.clear(field());
  await user.type(field(), "a/b/c");
  expect(await screen.findByText(/No results for “a\/b\/c”. Enter owner\/name/)).toBeVisible();
});

it("marks approximate figures, disables what makes no sense, and warns where nothing fits", async () => {
  server.use(
    http.get(api("/models/estimate-memory"), () =>
      HttpResponse.json(
        estimate({
          method: "approximate",
          method_reason: "the inspector did not answer in time",
          options: [
            option({ weights_bytes: 139.7 * GB }),
            option({ quantization: "8bit", available: false, note: "The weights are quantized already." }),
            option({ quantization: "4bit", weights_bytes: 39.7 * GB }),
          ],
        }),
      ),
    ),
  );
  show("Qwen/Qwen3-0.6B");
  await screen.findByText(/^Approximate/);
  expect(screen.getByText(/the inspector did not answer in time/)).toBeVisible();
  expect(verdict(/^Full precision/)).toBe("does not fit120 GB short");
  expect(screen.getByRole("radio", { name: /8-bit/ })).toBeDisabled();
  expect(screen.getByText("The weights are quantized already.")).toBeVisible();
  expect(screen.getByRole("button", { name: "Download anyway 1.50 GB" })).toBeEnabled();
});

it("chooses the most precise option that fits", async () => {
  server.use(
    http.get(api("/models/estimate-memory"), () =>
      HttpResponse.json(
        estimate({
          options: [
            option({ weights_bytes: 30 * GB }),
            option({ quantization: "8bit" }),
            option({ quantization: "4bit" }),
          ],
        }),
      ),
    ),
  );
  show("Qwen/Qwen3-0.6B");
  await waitFor(() => expect(screen.getByRole("radio", { name: /8-bit/ })).toBeChecked());
});

it("stops only where the disk is too small", async () => {
  useSystemStore.setState({
    system: system({ disks: [diskOf({ total_bytes: 10 * GB, free_bytes: 1 * GB })] }),
  });
  show("Qwen/Qwen3-0.6B");
  expect(await screen.findByText(/Not enough disk space: 503 MB more needed/)).toBeVisible();
  expect(screen.getByRole("button", { name: /^Download/ })).toBeDisabled();
});

it("shows the model that is there already", async () => {
  const user = userEvent.setup();
  server.use(
    http.post(api("/models/download"), () =>
      refuse(problem(409, "already_exists", "It is here (ready).", { id: "m42" })),
    ),
  );
  show("Qwen/Qwen3-0.6B");
  await screen.findByText(/^Exact: /);
  await waitFor(() => expect(screen.getByRole("button", { name: /^Download/ })).toBeEnabled());
  await user.click(screen.getByRole("button", { name: /^Download/ }));
  expect(await screen.findByRole("link", { name: "Show it" })).toHaveAttribute("href", "/models/m42");
  expect(screen.getByText("Already installed")).toBeVisible();
});

it("never shows one model's memory beside another", async () => {
  const user = userEvent.setup();
  let release: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => (release = resolve));
  server.use(
    http.get(api("/models/info/*"), async ({ request }) => {
      if (!request.url.includes("slow"))
        return HttpResponse.json(info({ model_id: "fast/one", canonical_id: "fast/one" }));
      await slow;
      return HttpResponse.json(info({ model_id: "slow/one", canonical_id: "slow/one" }));
    }),
  );
  show("slow/one");
  await user.clear(field());
  await user.type(field(), "fast/one{Enter}");
  expect(await screen.findByRole("region", { name: "About fast/one" })).toBeVisible();
  release();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(screen.queryByRole("region", { name: "About slow/one" })).toBeNull();
});

const LORA: Partial<ModelInfo> = {
  model_id: "lab/lora",
  canonical_id: "lab/lora",
  size_bytes: 10_000_000,
  missing_bytes: 10_000_000,
  files: [{ path: "adapter_model.safetensors", size_bytes: 9_000_000, sha256: null, fetch: true, reason: "weights" }],
  adapter: {
    base_model: "lab/base",
    base_revision: null,
    rank: 8,
    target_modules: ["q_proj", "v_proj"],
    memory_bytes: 20_000_000,
    base: { id: null, status: null, quantization: null, size_bytes: GB, missing_bytes: GB, problem: null },
  },
};

function base(changes: Partial<NonNullable<NonNullable<ModelInfo["adapter"]>["base"]>>): Partial<ModelInfo> {
  const { adapter } = LORA;
  return adapter?.base ? { ...LORA, adapter: { ...adapter, base: { ...adapter.base, ...changes } } } : LORA;
}

function downloads() {
  const body = vi.fn();
  server.use(
    http.post(api("/models/download"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(downloading({ status: "pending" }), { status: 202 });
    }),
  );
  return body;
}

it("offers the base of an adapter, in a precision of choice", async () => {
  const user = userEvent.setup();
  const body = downloads();
  tell(LORA);
  const onDone = show("lab/lora");
  const about = await screen.findByRole("region", { name: "About lab/lora" });
  for (const text of ["lab/base", "q_proj, v_proj", "20.0 MB on top of the base model"])
    expect(within(about).getByText(text)).toBeVisible();
  const offer = screen.getByRole("checkbox", { name: "Also download the base model, lab/base" });
  expect(offer).toBeChecked();
  await user.click(await screen.findByRole("radio", { name: /8-bit/ }));
  await expectAccessible();

  await user.click(offer);
  expect(await screen.findByText("The adapter needs its base model.")).toBeVisible();
  expect(screen.getByRole("button", { name: "Download 10.0 MB" })).toBeDisabled();
  await user.click(offer);
  await user.click(screen.getByRole("button", { name: "Download 1.01 GB" }));
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith(expect.objectContaining({ quantization: "8bit", with_base: true }));
});

it("takes an adapter as it is where its base is here", async () => {
  const user = userEvent.setup();
  const body = downloads();
  tell(base({ id: "m7", status: "ready", quantization: "4bit", missing_bytes: 0 }));
  const onDone = show("lab/lora");
  expect(await screen.findByText("Base model lab/base: installed (4-bit, ready)")).toBeVisible();
  expect(screen.queryByRole("checkbox", { name: /base/ })).toBeNull();
  await user.click(await screen.findByRole("button", { name: "Download 10.0 MB" }));
  await waitFor(() => expect(onDone).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith(expect.objectContaining({ quantization: "none", with_base: false }));
});

it("says why the base of an adapter cannot be downloaded", async () => {
  tell(base({ size_bytes: null, missing_bytes: null, problem: "There is no model 'lab/base'." }));
  show("lab/lora");
  expect(await screen.findByText(/can't be downloaded: There is no model 'lab\/base'/)).toBeVisible();
  expect(await screen.findByRole("button", { name: /^Download/ })).toBeDisabled();
});
