import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { useSystemStore } from "../../stores/systemStore";
import { disk, downloading, estimate, GB, info, option, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { SettingsChange } from "../../types/model";
import { ModelDownloadForm } from "./ModelDownloadForm";

beforeEach(() => useSystemStore.setState({ system: system(), loaded: [], error: null }));

function show(initial = "") {
  const onDone = vi.fn();
  renderPage(<ModelDownloadForm initial={initial} onDone={onDone} />);
  return onDone;
}

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
                size_bytes: null,
                access: "needs_acceptance",
                pipeline_tag: null,
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
    "596,049,920 (596 M)",
    "Qwen3ForCausalLM",
    "28 layers × 1024, 40,960 context",
    "apache-2.0",
    "open to everyone",
    "supported",
  ]) {
    expect(within(about).getByText(text)).toBeVisible();
  }
  expect(within(about).getByRole("button", { name: "1 file, 1.50 GB; 1 skipped" })).toBeVisible();
  expect(await screen.findByText("1.50 GB to run")).toBeVisible();
  expect(screen.getByRole("radio", { name: /bfloat16/ })).toBeChecked();
  expect(screen.getAllByText("fits, 18.5 GB left")).toHaveLength(2); // in the yard and beside the button
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
  });
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
  expect(await screen.findByText(/Write it as owner\/name/)).toBeVisible();
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
  const alert = (await screen.findByText("There is no model nope/none on this Hub")).closest("[role=alert]");
  expect(alert).toHaveTextContent(
    "There is no model nope/none on this HubCheck the spelling. Search for similar namesTry againSet a token",
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
  expect(await screen.findByText("There is no model nope/none on this Hub")).toBeVisible();
  expect(screen.getByText("The built-in sample Hub has only its own small models.")).toBeVisible();
  expect(screen.queryByText(/127\.0\.0\.1/)).toBeNull();
  expect(screen.getByRole("link", { name: "Choose another Hub" })).toHaveAttribute("href", "/settings");
  expect(screen.queryByRole("link", { name: "Set a token" })).toBeNull();
});

it("refuses what cannot run and says why", async () => {
  server.use(
    http.get(api("/models/info/*"), () =>
      HttpResponse.json(
        info({
          needs_custom_code: true,
          support: {
            level: "unsupported",
            reasons: [{ code: "needs_custom_code", message: "It needs its own code." }],
          },
        }),
      ),
    ),
  );
  show("x/y");
  expect(await screen.findByText("It needs its own code.")).toBeVisible();
  expect(screen.getByText(/Modelyard never runs it/)).toBeVisible();
  expect(screen.getByRole("button", { name: /^Download/ })).toBeDisabled();
});

it("lets a person accept pickle weights, and only then", async () => {
  const user = userEvent.setup();
  server.use(
    http.get(api("/models/info/*"), () =>
      HttpResponse.json(
        info({
          support: { level: "unsupported", reasons: [{ code: "unsafe_weights", message: "Only pickle weights." }] },
        }),
      ),
    ),
  );
  show("x/y");
  const accept = await screen.findByRole("checkbox", { name: /Accept pickle weights/ });
  expect(screen.getByRole("button", { name: /^Download/ })).toBeDisabled();
  await user.click(accept);
  expect(screen.getByRole("button", { name: /^Download/ })).toBeEnabled();
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
  expect(await screen.findByText("≈ 140 GB to run")).toBeVisible();
  expect(screen.getByText(/the inspector did not answer in time/)).toBeVisible();
  expect(screen.getByText("Does not fit in system memory: 120 GB short")).toBeVisible();
  expect(screen.getByText("does not fit, 120 GB short")).toBeVisible();
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
  expect(await screen.findByRole("radio", { name: /8-bit/ })).toBeChecked();
});

it("stops only where the disk is too small", async () => {
  useSystemStore.setState({
    system: system({ disks: [disk({ total_bytes: 10 * GB, free_bytes: 1 * GB })] }),
  });
  show("Qwen/Qwen3-0.6B");
  expect(await screen.findByText(/The disk lacks 503 MB for this/)).toBeVisible();
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
  await user.click(await screen.findByRole("button", { name: /^Download/ }));
  expect(await screen.findByRole("link", { name: "Show it" })).toHaveAttribute("href", "/models/m42");
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
