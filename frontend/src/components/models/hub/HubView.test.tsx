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

function serve(items: SearchItem[]) {
  server.use(
    http.get(api("/models/search"), ({ request }) => {
      asked.push(Object.fromEntries(new URL(request.url).searchParams));
      return HttpResponse.json({ items });
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
const HUGE = hit({ model_id: "deepseek-ai/DeepSeek-V3", num_parameters: 671_000_000_000, access: "no_token" });
const UNKNOWN = hit({ model_id: "gpt2", num_parameters: null, size_bytes: null, downloads: 0, likes: 1 });

it("tells of each what it is, whether it fits and whether it may be had", async () => {
  serve([SMALL, HUGE, UNKNOWN]);
  const onDownload = show();
  expect(screen.getByRole("status", { name: "Searching the Hub" })).toBeVisible();
  const list = await screen.findByRole("list", { name: "Models on the Hub" });
  const [small, huge, unknown] = within(list).getAllByRole("listitem");
  expect(small).toHaveTextContent("≈ fits");
  expect(small).toHaveTextContent("752 M parameters · 1.52 GB · 9.00 M downloads · 800 likes · text-generation");
  expect(huge).toHaveTextContent("≈ too large");
  expect(huge).toHaveTextContent("Gated; no Hub token is set");
  expect(unknown).toHaveTextContent("fit unknown");
  expect(unknown).toHaveTextContent("1 like · text-generation");
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
  expect(screen.getByText("Ready")).toBeVisible();
  expect(screen.getByText("Downloading")).toBeVisible();
  expect(screen.getByRole("button", { name: "Get another precision of Qwen3-0.6B" })).toBeVisible();
  expect(screen.getByRole("button", { name: "Download DeepSeek-V3" })).toBeVisible();
});

it("asks what the address says, and what is typed once it rests", async () => {
  serve([SMALL]);
  show("/models?view=hub&find=qwen&by=likes&show=24");
  await screen.findByRole("list", { name: "Models on the Hub" });
  expect(asked).toEqual([{ q: "qwen", limit: "24", sort: "likes" }]);
  await userEvent.type(screen.getByRole("textbox", { name: "Search the Hub" }), "3-0.6");
  await waitFor(() => expect(asked.at(-1)?.q).toBe("qwen3-0.6"));
  expect(asked).toHaveLength(2);
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Order" }), "Trending");
  await waitFor(() => expect(asked.at(-1)?.sort).toBe("trending"));
});

it("hides what does not fit, says so when nothing is left, and shows it again", async () => {
  serve([HUGE, UNKNOWN]);
  show("/models?view=hub&fits=1");
  expect(await screen.findByText("No results fit this machine")).toBeVisible();
  expect(screen.getByText(/The filter is “only what fits this machine”; 2 models are hidden/)).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Clear the filter" }));
  expect(await screen.findAllByRole("listitem")).toHaveLength(2);
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
