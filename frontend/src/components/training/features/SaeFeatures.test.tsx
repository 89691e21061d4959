import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes, useLocation } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { useModelsStore } from "../../../stores/modelsStore";
import { usePlaygroundStore } from "../../../stores/playgroundStore";
import { useSystemStore } from "../../../stores/systemStore";
import { model, problem, system } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { sae } from "../../../test/saeFixtures";
import type { Sae, SaeFeature, SaeFeatureItem } from "../../../types/sae";
import { SaeFeatures } from "./SaeFeatures";

const FACTS: NonNullable<Sae["features"]> = {
  dataset: { path: "/data/corpus.jsonl", column: "text" },
  tokens: 1_000_000,
  top: 20,
  active_features: 7581,
  final_norm: "model.norm",
  model_row_id: "m1",
  size_bytes: 31_400_000,
  built_at: "2026-11-24T13:00:00.000Z",
};
const TOTAL = 1000;

function item(index: number): SaeFeatureItem {
  return { index, density: 0.003, max: 18.43, top_token: " return", promoted: [" values"] };
}

const FEATURE: SaeFeature = {
  index: 7,
  density: 0.0031,
  max: 18.43,
  histogram: { edges: [0, 10, 20], counts: [90, 10] },
  passages: [
    {
      position: 1,
      activation: 18.43,
      tokens: [
        { id: 1, text: "will", activation: 0 },
        { id: 2, text: " return", activation: 18.43 },
        { id: 3, text: " self", activation: 3.1 },
      ],
    },
  ],
  promoted: [{ id: 4, text: " values", effect: 0.813 }],
  suppressed: [{ id: 5, text: " def", effect: -0.64 }],
};

let asked: URL[];

beforeEach(() => {
  // The list is as high as what it stands in, and jsdom measures nothing.
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(360);
  vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(300);
  asked = [];
  usePlaygroundStore.setState({ trials: {} });
  useSystemStore.setState({ system: { ...system(), extras: { ...system().extras, sae: true } } });
  useModelsStore.setState({ byId: { m1: model() }, ids: ["m1"], live: {}, pending: {}, load: { state: "ready" } });
  server.use(
    http.get(api("/datasets"), () => HttpResponse.json({ items: [] })),
    http.get(api("/saes/s1/features"), ({ request }) => {
      const url = new URL(request.url);
      asked.push(url);
      const offset = Number(url.searchParams.get("offset"));
      const items = Array.from({ length: Number(url.searchParams.get("limit")) }, (_, place) => item(offset + place));
      return HttpResponse.json({ items, total: TOTAL, limit: 200, offset });
    }),
    http.get(api("/saes/s1/features/:index"), ({ params }) =>
      HttpResponse.json({ ...FEATURE, index: Number(params.index) }),
    ),
  );
});

function Where() {
  const { pathname, search } = useLocation();
  return <output>{pathname + search}</output>;
}

function show(shown: Sae, onStarted: () => void = () => undefined) {
  renderPage(
    <>
      <Routes>
        <Route path="training/saes/:id" element={<SaeFeatures sae={shown} onStarted={onStarted} />} />
        <Route path="*" element={null} />
      </Routes>
      <Where />
    </>,
    "/training/saes/s1",
  );
}

it("builds the pages of a text", async () => {
  let body: unknown;
  const started = vi.fn();
  server.use(
    http.post(api("/saes/s1/features/build"), async ({ request }) => {
      body = await request.json();
      return HttpResponse.json(sae(), { status: 202 });
    }),
  );
  show(sae(), started);
  await userEvent.click(await screen.findByRole("button", { name: "Build feature pages…" }));
  await userEvent.click(await screen.findByRole("textbox", { name: "Text file" }));
  await userEvent.paste("/data/corpus.jsonl");
  await userEvent.click(screen.getByRole("button", { name: "Build" }));
  await waitFor(() => expect(started).toHaveBeenCalled());
  expect(body).toMatchObject({ dataset: { path: "/data/corpus.jsonl", column: null }, tokens: 200_000, top: 20 });
  expect(asked).toEqual([]);
});

it("lists features in an order, of which only those in sight are in the page", async () => {
  show(sae({ features: FACTS }));
  expect(await screen.findByText(/7,581 of 8,192 are active in 1,000,000 tokens of corpus.jsonl/)).toBeVisible();
  const table = await screen.findByRole("table", { name: "Features" });
  expect(table).toHaveAttribute("aria-rowcount", String(TOTAL + 1));
  expect(within(table).getByRole("columnheader", { name: "Density" })).toHaveAttribute("aria-sort", "descending");
  expect(within(table).getAllByRole("row").length).toBeLessThan(40);
  expect(asked.map(({ searchParams }) => searchParams.get("sort"))).toEqual(["-density"]);
  await userEvent.click(within(table).getByRole("button", { name: "Max" }));
  await waitFor(() => expect(asked.at(-1)?.searchParams.get("sort")).toBe("-max"));
  await userEvent.click(await screen.findByRole("button", { name: "Max" }));
  await waitFor(() => expect(asked.at(-1)?.searchParams.get("sort")).toBe("max"));
  await userEvent.click(await screen.findByRole("button", { name: "0" }));
  await userEvent.keyboard("{ArrowDown}{ArrowDown}");
  expect(screen.getByRole("button", { name: "2" })).toHaveFocus();
});

it("shows a feature with its passages, and clamps it where the model is tried", async () => {
  show(sae({ features: FACTS }));
  await userEvent.click(await screen.findByRole("button", { name: "7" }));
  const shown = await screen.findByRole("article", { name: "Feature 7" });
  expect(within(shown).getByText("Active on 0.31 % of the tokens, at most 18.4")).toBeVisible();
  expect(within(shown).getByText(" return", { normalizer: (text) => text }).tagName).toBe("MARK");
  expect(within(shown).getByText("will").tagName).toBe("SPAN");
  expect(within(shown).getByRole("list", { name: "Promotes" })).toHaveTextContent("·values0.81");
  expect(within(shown).getByRole("list", { name: "Suppresses" })).toHaveTextContent("·def-0.64");
  expect(screen.getByRole("status", { name: "" })).toHaveTextContent("/training/saes/s1?feature=7");
  await expectAccessible();
  await userEvent.click(within(shown).getByRole("button", { name: "Clamp in Try it" }));
  expect(usePlaygroundStore.getState().trials.m1?.settings.clamps).toEqual([
    { saeId: "s1", saeName: "Qwen3-0.6B model.layers.14", feature: 7, value: 18.4 },
  ]);
  expect(screen.getByRole("status")).toHaveTextContent("/models/m1?tab=try");
});

it("shows which features are active in a text, and why it was not read", async () => {
  let refused = true;
  server.use(
    http.post(api("/saes/s1/features/for-text"), () => {
      if (refused) return refuse(problem(422, "context_length_exceeded", "The text has 600 tokens."));
      const tokens = ["<s>", "will", " return"].map((text, id) => ({ id, text, counted: id > 0 }));
      const features = [
        { index: 3, max: 9, position: 1, density: 0.2, activations: [0, 9, 1] },
        { index: 7, max: 4, position: 2, density: null, activations: [0, 0, 4] },
      ];
      return HttpResponse.json({ model_id: "m1", tokens, features, active_features: 31 });
    }),
  );
  show(sae({ features: FACTS }));
  await userEvent.type(await screen.findByRole("textbox", { name: "Text" }), "will return");
  await userEvent.click(screen.getByRole("button", { name: "Find features" }));
  expect(await screen.findByText("The text has 600 tokens.")).toBeVisible();
  refused = false;
  await userEvent.click(screen.getByRole("button", { name: "Find features" }));
  const active = await screen.findByRole("list", { name: "Active features" });
  expect(screen.getByText("31 features are active; the 2 most active ones")).toBeVisible();
  expect(screen.getByText("will", { selector: "mark" })).toBeVisible();
  await userEvent.click(within(active).getByRole("button", { name: /^7/ }));
  expect(await screen.findByRole("article", { name: "Feature 7" })).toBeVisible();
  expect(within(active).getByRole("button", { name: /^7/ })).toHaveAttribute("aria-pressed", "true");
  await expectAccessible();
});
