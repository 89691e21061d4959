import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes, useLocation, useNavigate } from "react-router";
import { beforeEach, expect, it } from "vitest";
import { applyList } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import { downloading, model, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, page, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import { training } from "../../test/trainingFixtures";
import type { Model } from "../../types/model";
import ModelPanel from "./ModelPanel";
import { ModelsPanel } from "./ModelsPanel";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };

beforeEach(() => {
  useSystemStore.setState({ system: system(), loaded: [], error: null });
  useModelsStore.setState({ ...EMPTY, load: { state: "idle" } });
  useTrainingsStore.setState({ byId: {}, load: { state: "ready" } });
});

function Address() {
  const { pathname, search } = useLocation();
  const navigate = useNavigate();
  return (
    <button data-testid="back" onClick={() => void navigate(-1)}>
      {pathname + search}
    </button>
  );
}

function show(models: Model[], path: string) {
  useModelsStore.setState({ ...applyList(EMPTY, models), load: { state: "ready" } });
  return renderPage(
    <>
      <Routes>
        <Route path="models" element={<ModelsPanel />} />
        <Route path="models/:id" element={<ModelPanel />} />
      </Routes>
      <Address />
    </>,
    path,
  );
}

const address = () => screen.getByTestId("back").textContent;
const back = () => userEvent.click(screen.getByTestId("back"));
const tab = (name: string) => screen.getByRole("tab", { name });

const MODELS = [
  model({ id: "a", model_id: "Qwen/Qwen3-0.6B" }),
  model({ id: "a4", model_id: "Qwen/Qwen3-0.6B", quantization: "4bit", loaded: true }),
  model({ id: "b", model_id: "gpt2", architecture: "GPT2LMHeadModel", model_type: "gpt2" }),
  downloading({ id: "c", model_id: "EleutherAI/pythia-70m" }),
];

it("is a page that a card leads to; its views are in the address, and the way back walks them", async () => {
  const user = userEvent.setup();
  show(MODELS, "/models?q=gpt");
  screen.getByRole("link", { name: "gpt2" }).focus();
  await user.keyboard("{Enter}");
  const name = await screen.findByRole("heading", { level: 1, name: "gpt2" });
  expect(name).toHaveFocus();
  expect(screen.queryByRole("dialog")).toBeNull();
  await waitFor(() => expect(document.title).toBe("25 % · gpt2 · Models · Modelyard"));
  expect(screen.getByText("GPT2LMHeadModel")).toBeVisible();
  expect(tab("Overview")).toHaveAttribute("aria-selected", "true");
  await expectAccessible();
  await user.click(tab("History"));
  expect(address()).toBe("/models/b?q=gpt&tab=history");
  await user.click(tab("Training"));
  await back();
  expect(tab("History")).toHaveAttribute("aria-selected", "true");
  await back();
  expect(tab("Overview")).toHaveAttribute("aria-selected", "true");
  expect(screen.getByRole("link", { name: "Models" })).toHaveAttribute("href", "/models?q=gpt");
  await user.click(screen.getByRole("link", { name: "Models" }));
  await waitFor(() => expect(screen.getByRole("link", { name: "gpt2" })).toHaveFocus());
});

it("leads from a precision to the same view of another", async () => {
  show(MODELS, "/models/a?tab=history");
  const precisions = within(screen.getByRole("navigation", { name: "Precisions" }));
  expect(precisions.getAllByRole("link").map((link) => link.textContent)).toEqual(["Full precision", "4-bitloaded"]);
  expect(precisions.getByRole("link", { name: /Full precision/ })).toHaveAttribute("aria-current", "page");
  await userEvent.click(precisions.getByRole("link", { name: /4-bit/ }));
  expect(address()).toBe("/models/a4?tab=history");
  expect(screen.getByRole("button", { name: "Unload" })).toBeVisible();
});

it("lists the training runs on this model, and no others", async () => {
  const runs = [training({ id: "t1", model_id: "a" }), training({ id: "t2", model_id: "b", model_name: "gpt2" })];
  useTrainingsStore.setState({ byId: Object.fromEntries(runs.map((run) => [run.id, run])) });
  show(MODELS, "/models/a?tab=training");
  const list = await screen.findByRole("list", { name: "Training runs" });
  expect(within(list).getAllByRole("listitem").length).toBeGreaterThan(0);
  expect(within(list).getAllByRole("heading")).toHaveLength(1);
  await expectAccessible();
});

it("offers a training where none was run", async () => {
  show(MODELS, "/models/a?tab=training");
  expect(await screen.findByText("No training run yet")).toBeVisible();
  expect(screen.getByRole("link", { name: "Train an SAE" })).toHaveAttribute("href", "/training/new?model=a");
});

it("says that a model is not there, and leads back to the list", async () => {
  show(MODELS, "/models/nope?tab=files&q=gpt");
  expect(await screen.findByRole("heading", { level: 1, name: "Model not found" })).toBeVisible();
  expect(screen.getByRole("link", { name: "Back to models" })).toHaveAttribute("href", "/models?q=gpt");
  await expectAccessible();
});

it("waits for the list, and says why it could not be read", async () => {
  server.use(http.get(api("/models"), () => refuse(problem(500, "internal_error", "The database is locked."))));
  show([], "/models/a");
  act(() => useModelsStore.setState({ load: { state: "loading" } }));
  expect(screen.getByRole("heading", { level: 1, name: "Loading the model" })).toBeInTheDocument();
  await act(() => useModelsStore.getState().fetchModels());
  expect(await screen.findByText("The database is locked.")).toBeVisible();
  server.use(http.get(api("/models"), () => HttpResponse.json(page(MODELS))));
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("heading", { level: 1, name: "Qwen3-0.6B" })).toBeVisible();
});

it("asks before it gives up work, and leaves what is no more", async () => {
  const sent: string[] = [];
  server.use(
    http.post(api("/models/c/:action"), ({ params }) => {
      sent.push(String(params.action));
      return HttpResponse.json(downloading({ id: "c", model_id: "EleutherAI/pythia-70m" }), { status: 202 });
    }),
  );
  const user = userEvent.setup();
  show(MODELS, "/models/c?q=pythia");
  await user.click(screen.getByRole("button", { name: "Cancel and remove…" }));
  const question = await screen.findByRole("dialog", { name: "Cancel pythia-70m" });
  await user.keyboard("{Escape}");
  await waitFor(() => expect(question).not.toBeInTheDocument());
  expect(sent).toEqual([]);
  await user.click(screen.getByRole("button", { name: "Cancel and remove…" }));
  await user.click(await screen.findByRole("button", { name: "Discard 400 MB" }));
  await waitFor(() => expect(sent).toEqual(["cancel"]));
  act(() => useModelsStore.setState(applyList(EMPTY, MODELS.slice(0, 3))));
  await waitFor(() => expect(address()).toBe("/models?q=pythia"));
});
