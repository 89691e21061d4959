import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useRef } from "react";
import { useSearchParams } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { applyList } from "../../../stores/applyEvents";
import { useModelsStore } from "../../../stores/modelsStore";
import { useSystemStore } from "../../../stores/systemStore";
import { downloading, hit, model, problem, system } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { Model, SearchItem } from "../../../types/model";
import { HubView } from "./HubView";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };
const asked: Record<string, string>[] = [];

beforeEach(() => {
  asked.length = 0;
  useSystemStore.setState({ system: system(), loaded: [], error: null });
  useModelsStore.setState({ ...EMPTY, conn: "live", load: { state: "ready" } });
});

/** Answers these pages, one after the other. */
function serve(...pages: SearchItem[][]) {
  server.use(
    http.get(api("/models/search"), ({ request }) => {
      const { searchParams } = new URL(request.url);
      asked.push(Object.fromEntries(searchParams));
      const page = Number(searchParams.get("cursor") ?? 0);
      return HttpResponse.json({
        items: pages[page] ?? [],
        next_cursor: page + 1 < pages.length ? String(page + 1) : null,
      });
    }),
  );
}

/** As the panel does it: what changes goes into the address. */
function Page({ onDownload }: { onDownload: (modelId: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  const [, setParameters] = useSearchParams();
  return (
    <HubView
      searchField={field}
      onDownload={onDownload}
      onChange={(changes) =>
        setParameters((before) => {
          const next = new URLSearchParams(before);
          for (const [name, value] of Object.entries(changes)) {
            if (value === null || value === "") next.delete(name);
            else next.set(name, value);
          }
          return next;
        })
      }
    />
  );
}

function show(path = "/models?view=hub", models: Model[] = []) {
  useModelsStore.setState(applyList(EMPTY, models));
  const onDownload = vi.fn();
  renderPage(<Page onDownload={onDownload} />, path);
  return onDownload;
}

const SMALL = hit({ model_id: "Qwen/Qwen3-0.6B" });
const HUGE = hit({
  model_id: "deepseek-ai/DeepSeek-V3",
  num_parameters: 671_000_000_000,
  weights_bytes: 1_342_000_000_000,
  licence: "mit",
  access: "no_token",
});
const UNKNOWN = hit({
  model_id: "gpt2",
  num_parameters: null,
  weights_bytes: null,
  size_bytes: null,
  licence: null,
  downloads: 0,
  likes: 1,
});

it("tells of each what it is, whether it fits and whether it may be had", async () => {
  serve([SMALL, HUGE, UNKNOWN]);
  const onDownload = show();
  expect(screen.getByRole("status", { name: "Searching the Hub" })).toBeVisible();
  const list = await screen.findByRole("list", { name: "Models on the Hub" });
  const [small, huge, unknown] = within(list).getAllByRole("listitem");
  expect(small).toHaveTextContent("≈ fits");
  expect(small).toHaveTextContent("752 M parameters1.52 GBapache-2.0text-generation 9.00 M downloads 800 likes");
  expect(huge).toHaveTextContent("≈ too large");
  expect(huge).toHaveTextContent("Gated; no Hub token is set");
  expect(unknown).toHaveTextContent("fit unknown");
  expect(unknown).toHaveTextContent("gpt2text-generation 1 like");
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Download Qwen3-0.6B" }));
  expect(onDownload).toHaveBeenCalledWith("Qwen/Qwen3-0.6B");
});

it("marks what is here, and opens it", async () => {
  serve([SMALL, hit({ model_id: "openai-community/gpt2" }), HUGE]);
  show("/models?view=hub", [
    downloading({ id: "half", created_at: "2026-11-24T11:00:00.000Z" }),
    model({ id: "whole", quantization: "4bit" }),
    downloading({ id: "coming", model_id: "gpt2", canonical_id: "openai-community/gpt2" }),
  ]);
  const whole = await screen.findByRole("link", { name: "Open Qwen3-0.6B" });
  expect(whole).toHaveAttribute("href", "/models/whole?view=hub");
  expect(screen.getByRole("link", { name: "Open gpt2" })).toHaveAttribute("href", "/models/coming?view=hub");
  const [small, gpt2] = screen.getAllByRole("listitem");
  expect(small).toHaveTextContent("Installed4-bit");
  expect(gpt2).toHaveTextContent("Downloading");
  expect(gpt2).not.toHaveTextContent("Installed");
  expect(screen.getByRole("button", { name: "Get another precision of Qwen3-0.6B" })).toBeVisible();
  expect(screen.getByRole("button", { name: "Download DeepSeek-V3" })).toBeVisible();
});

it("asks what the address says, and what is typed once it rests", async () => {
  serve([SMALL]);
  show("/models?view=hub&find=qwen&by=likes");
  await screen.findByRole("list", { name: "Models on the Hub" });
  expect(asked).toEqual([{ q: "qwen", limit: "24", sort: "likes" }]);
  await userEvent.type(screen.getByRole("textbox", { name: "Search the Hub" }), "3-0.6");
  await waitFor(() => expect(asked.at(-1)?.q).toBe("qwen3-0.6"));
  expect(asked).toHaveLength(2);
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Order" }), "Trending");
  await waitFor(() => expect(asked.at(-1)?.sort).toBe("trending"));
});

it("asks for what the filters say, and for everything once they are cleared", async () => {
  serve([SMALL]);
  show("/models?view=hub&task=fill-mask&licence=mit&architecture=qwen3&size=2B-8B&fits=4bit");
  await screen.findByRole("list", { name: "Models on the Hub" });
  expect(asked).toEqual([
    {
      limit: "24",
      sort: "downloads",
      task: "fill-mask",
      licence: "mit",
      architecture: "qwen3",
      min_parameters: "2000000000",
      max_parameters: "8000000000",
      fits: "true",
      precision: "4bit",
    },
  ]);
  expect(screen.getByRole("combobox", { name: "Fits this machine" })).toHaveDisplayValue("Fits in 4-bit");
  await userEvent.click(screen.getByRole("button", { name: "Clear the filters" }));
  await waitFor(() => expect(asked.at(-1)).toEqual({ limit: "24", sort: "downloads" }));
});

it("takes each filter into the search", async () => {
  serve([SMALL]);
  show("/models?view=hub&licence=odd-licence&task=a,b");
  await screen.findByRole("list", { name: "Models on the Hub" });
  expect(screen.getByRole("combobox", { name: "Licence" })).toHaveValue("odd-licence");
  expect(screen.getByRole("combobox", { name: "Task" })).toHaveValue("");
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Task" }), "fill-mask");
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Size" }), "80B and more");
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Licence" }), "mit");
  await userEvent.type(screen.getByRole("combobox", { name: "Architecture" }), "gpt 2");
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Fits this machine" }), "Fits in full precision");
  const {
    task,
    licence,
    architecture,
    min_parameters: least,
    max_parameters: most,
    fits,
  } = await waitFor(() => {
    expect(asked.at(-1)?.architecture).toBe("gpt2");
    expect(asked.at(-1)?.fits).toBe("true");
    return asked.at(-1) ?? {};
  });
  expect([task, licence, architecture, least, most, fits]).toEqual([
    "fill-mask",
    "mit",
    "gpt2",
    "80000000000",
    undefined,
    "true",
  ]);
});

it("says that the filters leave nothing, and clears them", async () => {
  serve([]);
  show("/models?view=hub&fits=1");
  expect(await screen.findByText("No results with these filters")).toBeVisible();
  await expectAccessible();
  serve([HUGE, UNKNOWN]);
  await userEvent.click(screen.getAllByRole("button", { name: "Clear the filters" })[1] as HTMLElement);
  expect(await screen.findAllByRole("listitem")).toHaveLength(2);
});

it("loads page after page, each model once, and goes on where the new ones begin", async () => {
  serve([SMALL, HUGE], [HUGE, UNKNOWN]);
  show("/models?view=hub&find=x");
  expect(await screen.findByText("2 models, more on the Hub")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Load more" }));
  expect(await screen.findByText("3 models")).toBeVisible();
  expect(asked.map(({ cursor }) => cursor)).toEqual([undefined, "1"]);
  expect(screen.getAllByRole("listitem")).toHaveLength(3);
  expect(screen.getByRole("button", { name: "gpt2" })).toHaveFocus();
  expect(screen.queryByRole("button", { name: "Load more" })).toBeNull();
  await userEvent.keyboard("{ArrowUp}");
  expect(screen.getByRole("button", { name: "deepseek-ai/DeepSeek-V3" })).toHaveFocus();
});

it("says that further models could not be loaded, and tries again", async () => {
  serve([SMALL], [UNKNOWN]);
  show();
  const more = await screen.findByRole("button", { name: "Load more" });
  server.use(http.get(api("/models/search"), () => refuse(problem(503, "hub_rate_limited", "Asked too often."))));
  await userEvent.click(more);
  expect(await screen.findByText("More models could not be loaded")).toBeVisible();
  expect(screen.getAllByRole("listitem")).toHaveLength(1);
  serve([SMALL], [UNKNOWN]);
  await userEvent.click(screen.getByRole("button", { name: "Load more" }));
  expect(await screen.findByText("2 models")).toBeVisible();
  expect(screen.queryByText("More models could not be loaded")).toBeNull();
});

it("shows the card of a model beside the list, and goes back to where it was", async () => {
  serve([SMALL, HUGE]);
  const cards: (string | null)[] = [];
  server.use(
    http.get(api("/models/card"), ({ request }) => {
      cards.push(new URL(request.url).searchParams.get("model_id"));
      return HttpResponse.json({ html: "<p>What it is for.</p>", text: "What it is for.", truncated: false });
    }),
  );
  const onDownload = show();
  const opener = await screen.findByRole("button", { name: "Qwen/Qwen3-0.6B" });
  opener.focus();
  await userEvent.keyboard("{Enter}");
  const pane = await screen.findByRole("complementary", { name: "Qwen3-0.6B on the Hub" });
  expect(await within(pane).findByText("What it is for.")).toBeVisible();
  expect(cards).toEqual(["Qwen/Qwen3-0.6B"]);
  expect(pane).toHaveFocus();
  expect(opener).toHaveAttribute("aria-expanded", "true");
  await expectAccessible();
  await userEvent.click(within(pane).getByRole("button", { name: "Download" }));
  expect(onDownload).toHaveBeenCalledWith("Qwen/Qwen3-0.6B");
  pane.focus();
  await userEvent.keyboard("{Escape}");
  expect(screen.queryByRole("complementary")).toBeNull();
  expect(opener).toHaveFocus();
});

it("opens the card that the address names, also of a model that is on no page", async () => {
  serve([SMALL]);
  server.use(
    http.get(api("/models/card"), () => refuse(problem(404, "hub_model_not_found", "There is no such model."))),
  );
  show("/models?view=hub&hit=no/such");
  const pane = await screen.findByRole("complementary", { name: "such on the Hub" });
  expect(await within(pane).findByText("The model card is not available")).toBeVisible();
});

it("offers the full name where the search finds nothing", async () => {
  serve([]);
  const onDownload = show("/models?view=hub&find=zzz");
  expect(await screen.findByText("No results for “zzz”")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Look up exactly this name" }));
  expect(onDownload).toHaveBeenCalledWith("zzz");
});

it("offers no name that cannot be one", async () => {
  serve([]);
  show("/models?view=hub&find=a/b/c");
  expect(await screen.findByText("No results for “a/b/c”")).toBeVisible();
  expect(screen.queryByRole("button", { name: /Look/ })).toBeNull();
});

it("says that the Hub does not answer, and what else is wrong with it", async () => {
  server.use(http.get(api("/models/search"), () => refuse(problem(502, "hub_unreachable", "No route to it."))));
  show();
  expect(await screen.findByText("The Hub at https://huggingface.co does not answer")).toBeVisible();
  expect(screen.getByRole("button", { name: "Use the built-in sample Hub" })).toBeVisible();
  server.use(http.get(api("/models/search"), () => refuse(problem(503, "hub_rate_limited", "Asked too often."))));
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByText("The search failed")).toBeVisible();
});

it("says of the sample Hub what its models are, and where real ones come from", async () => {
  const { hub } = system();
  useSystemStore.setState({ system: system({ hub: { ...hub, endpoint_source: "builtin" } }) });
  serve([SMALL]);
  show();
  expect(await screen.findByText(/small models with random weights, and what this server holds/)).toBeVisible();
  // Nobody counts their downloads.
  expect(screen.queryByRole("combobox", { name: "Order" })).toBeNull();
  expect(screen.getByRole("link", { name: "Settings" })).toHaveAttribute("href", "/settings");
  expect(screen.queryByText(/Type to search/)).toBeNull();
});

it("names the Hub once when it does not answer", async () => {
  const message = "https://huggingface.co did not answer in time.";
  server.use(http.get(api("/models/search"), () => refuse(problem(502, "hub_unreachable", message))));
  show();
  expect(await screen.findByText("It did not answer in time.")).toBeVisible();
});

it("gives no verdict of now while the server is gone", async () => {
  useModelsStore.setState({ conn: "stale" });
  serve([SMALL]);
  show();
  const words = await screen.findByTitle(/memory that was free when the server last answered/);
  expect(words.querySelector("[data-verdict]")).toHaveAttribute("data-verdict", "unknown");
});
