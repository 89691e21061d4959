import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes } from "react-router";
import { beforeEach, expect, it } from "vitest";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import { model, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import { EVALUATION, sae, work } from "../../test/saeFixtures";
import type { Sae, SaeEvaluate } from "../../types/sae";
import { SaeShelf } from "./SaeShelf";
import SaeView from "./SaeView";

let shelf: Sae[];

beforeEach(() => {
  shelf = [sae()];
  useSystemStore.setState({ system: { ...system(), extras: { ...system().extras, sae: true } } });
  useTrainingsStore.setState({ byId: {}, pending: {}, load: { state: "ready" } });
  useModelsStore.setState({ byId: { m1: model() }, ids: ["m1"], live: {}, pending: {}, load: { state: "ready" } });
  server.use(
    http.get(api("/saes"), () => HttpResponse.json({ items: shelf, total: shelf.length, limit: 200, offset: 0 })),
    http.get(api("/saes/s1"), () => HttpResponse.json(shelf[0])),
  );
});

function show(path = "/training/saes/s1") {
  renderPage(
    <Routes>
      <Route path="training" element={<SaeShelf />} />
      <Route path="training/saes/:id" element={<SaeView />} />
    </Routes>,
    path,
  );
}

it("compares what is on the shelf by the figures of their evaluations", async () => {
  shelf = [sae({ evaluation: EVALUATION }), sae({ id: "s2", name: "other", source: "hub" })];
  show("/training");
  const judged = await screen.findByRole("row", { name: /Qwen3-0.6B/ });
  for (const value of ["model.layers.14", "topk", "Imported", "0.732", "96.3 %", "32.0", "611"])
    expect(within(judged).getByText(value)).toBeVisible();
  const other = screen.getByRole("row", { name: /other/ });
  expect(within(other).getByText("Not evaluated")).toBeVisible();
  expect(screen.getByRole("link", { name: "other" })).toHaveAttribute("href", "/training/saes/s2");
  await expectAccessible();
});

it("says what is being done, and that something is not here", async () => {
  shelf = [
    sae({ status: "downloading", work: work({ kind: "download" }) }),
    sae({ id: "s2", name: "other", status: "failed", work: work({ kind: "download", state: "failed" }) }),
  ];
  show("/training");
  expect(await screen.findByText("Downloading")).toBeVisible();
  expect(within(screen.getByRole("row", { name: /other/ })).getByText("failed")).toBeVisible();
});

it("adds one of a Hub, and says why it was not added", async () => {
  const asked: unknown[] = [];
  let refused = true;
  server.use(
    http.post(api("/saes/download"), async ({ request }) => {
      asked.push(await request.json());
      if (refused) return refuse(problem(422, "invalid_request", "lab/saes has no cfg.json in its root."));
      return HttpResponse.json(sae({ status: "downloading" }), { status: 202 });
    }),
  );
  show("/training");
  await userEvent.click(await screen.findByRole("button", { name: "Add an SAE…" }));
  await userEvent.type(await screen.findByRole("textbox", { name: "Repository" }), "lab/saes");
  await userEvent.click(screen.getByRole("button", { name: "Download" }));
  expect(await screen.findByText(/has no cfg.json/)).toBeVisible();
  refused = false;
  await userEvent.type(screen.getByRole("textbox", { name: "Folder in it" }), "layer-1");
  await userEvent.click(screen.getByRole("button", { name: "Download" }));
  await waitFor(() => expect(screen.queryByRole("textbox", { name: "Repository" })).toBeNull());
  expect(asked[1]).toEqual({ repo_id: "lab/saes", path: "layer-1", revision: null });
});

it("evaluates on a text and shows the work", async () => {
  let asked: SaeEvaluate | null = null;
  server.use(
    http.post(api("/saes/s1/evaluate"), async ({ request }) => {
      asked = (await request.json()) as SaeEvaluate;
      shelf = [sae({ work: work() })];
      return HttpResponse.json(shelf[0], { status: 202 });
    }),
  );
  show();
  await userEvent.click(await screen.findByRole("textbox", { name: "Text file" }));
  await userEvent.paste("/data/corpus.jsonl");
  await userEvent.click(screen.getByRole("button", { name: "Evaluate" }));
  expect(await screen.findByRole("progressbar")).toHaveAttribute("aria-valuenow", "50");
  expect(asked).toMatchObject({ dataset: { path: "/data/corpus.jsonl", column: null }, tokens: 50_000 });
  expect(screen.getByRole("button", { name: "Delete…" })).toBeDisabled();
  await expectAccessible();
});

it("shows the figures, the remarks and what it fits", async () => {
  shelf = [
    sae({
      evaluation: EVALUATION,
      work: work({ state: "done" }),
      warnings: [{ code: "other_commit", message: "It was trained on the commit c1899de2.", model_id: "m1" }],
    }),
  ];
  show();
  expect(await screen.findByText("96.3 %")).toBeVisible();
  expect(screen.getByText("It was trained on the commit c1899de2.")).toBeVisible();
  expect(screen.getByText("On 49,920 tokens of rows that training kept back, corpus.jsonl")).toBeVisible();
  expect(screen.getByRole("img", { name: "312 features are active at all" })).toBeVisible();
  expect(screen.queryByRole("button", { name: "Evaluate" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Evaluate again…" }));
  expect(screen.getByRole("button", { name: "Evaluate" })).toBeVisible();
  await expectAccessible();
});

it("asks before it deletes, with what that frees", async () => {
  const plan = { freed_bytes: 67_000_000, kept_bytes: 0, kept_because: [], shared_cache: false };
  let deleted = false;
  server.use(
    http.delete(api("/saes/s1"), ({ request }) => {
      deleted = !request.url.includes("dry_run");
      return HttpResponse.json(plan);
    }),
  );
  show();
  await userEvent.click(await screen.findByRole("button", { name: "Delete…" }));
  await userEvent.click(await screen.findByRole("button", { name: /^Delete and free 67/ }));
  await waitFor(() => expect(deleted).toBe(true));
});
