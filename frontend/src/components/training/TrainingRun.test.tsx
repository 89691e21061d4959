import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { doNow } from "../../lib/later";
import { useModelsStore } from "../../stores/modelsStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import { model, problem } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import { curvePoint, training, trainingPage } from "../../test/trainingFixtures";
import type { CurvePoint, Training } from "../../types/training";
import TrainingPanel from "../panels/TrainingPanel";
import TrainingRun from "./TrainingRun";

// jsdom has no canvas.
vi.mock("./Plot", () => ({ Plot: () => null }));

let curve: CurvePoint[];
let log: string;

beforeEach(() => {
  useTrainingsStore.setState({ byId: {}, pending: {}, load: { state: "idle" } });
  useModelsStore.setState({ byId: { m1: model() }, ids: ["m1"], live: {}, pending: {}, load: { state: "ready" } });
  log = "10:00:00Z INFO loading\n";
  curve = [curvePoint(), curvePoint({ step: 200, tokens: 819_200, held_out_explained_variance: 0.71 })];
  server.use(
    http.get(api("/trainings/t1/log"), ({ request }) => {
      const after = Number(new URL(request.url).searchParams.get("after"));
      return HttpResponse.json({ text: log.slice(after), position: log.length, skipped_bytes: 0 });
    }),
    http.get(api("/trainings/t1/metrics"), ({ request }) => {
      const after = Number(new URL(request.url).searchParams.get("after_step"));
      return HttpResponse.json({ items: curve.filter((point) => point.step > after) });
    }),
  );
});

function show(runs: Training[], path = "/training/t1") {
  server.use(http.get(api("/trainings"), () => HttpResponse.json(trainingPage(runs))));
  renderPage(
    <Routes>
      <Route path="training" element={<TrainingPanel />} />
      <Route path="training/:id" element={<TrainingRun />} />
    </Routes>,
    path,
  );
}

it("shows how far a run is, its figures and its curves, and cancels it", async () => {
  show([training()]);
  expect(await screen.findByRole("progressbar")).toHaveAttribute(
    "aria-valuetext",
    expect.stringContaining("55 s left"),
  );
  expect(
    await screen.findByRole("img", {
      name: "Explained variance, held-out text: from 0.580 to 0.710 after 819 k tokens",
    }),
  ).toBeVisible();
  expect(screen.getByText("12 of 8,192")).toBeVisible();
  await expectAccessible();
  server.use(
    http.post(api("/trainings/t1/cancel"), () =>
      HttpResponse.json(training({ status: "cancelling", updated_at: "2026-11-24T10:03:00.000Z" }), { status: 202 }),
    ),
  );
  await userEvent.click(screen.getByRole("button", { name: /^Cancel/ }));
  expect(await screen.findByText("Saving a checkpoint")).toBeVisible();
});

it("names what a run does before its first step, without a share that stands still", async () => {
  const { progress } = training();
  show([
    training({ metrics: null, progress: { ...progress, phase: "filling_buffer", tokens_done: 0, eta_seconds: null } }),
  ]);
  expect(await screen.findByText("Filling the activation buffer")).toBeVisible();
  expect(screen.getByText("Running")).toBeVisible();
  expect(screen.queryByText("0 %")).toBeNull();
  expect(screen.getByRole("progressbar")).not.toHaveAttribute("aria-valuenow");
  await expectAccessible();
});

it("lets the curve grow with what the feed tells", async () => {
  show([training()]);
  await screen.findByRole("img", { name: /^Explained variance, held-out/ });
  curve = [...curve, curvePoint({ step: 300, tokens: 1_228_800, held_out_explained_variance: 0.8 })];
  const { progress } = training();
  useTrainingsStore.setState({ byId: { t1: training({ progress: { ...progress, tokens_done: 1_228_800 } }) } });
  expect(
    await screen.findByRole(
      "img",
      { name: "Explained variance, held-out text: from 0.580 to 0.800 after 1.23 M tokens" },
      { timeout: 4000 },
    ),
  ).toBeVisible();
});

it("shows the log as it grows", async () => {
  show([training()]);
  const lines = await screen.findByLabelText("Lines of the log");
  expect(lines).toHaveTextContent(/^10:00:00Z INFO loading$/);
  log += "10:00:09Z INFO step 1 of 489\n";
  await waitFor(() => expect(lines.textContent).toBe(log), { timeout: 4000 });
});

it("asks again for a curve or a log that could not be read", async () => {
  const fail = () => refuse(problem(500, "internal_error", "The database is locked."));
  server.use(http.get(api("/trainings/t1/log"), fail, { once: true }));
  show([training({ status: "completed" })]);
  const region = await screen.findByRole("region", { name: "Log" });
  await userEvent.click(await within(region).findByRole("button", { name: "Try again" }));
  expect(await within(region).findByLabelText("Lines of the log")).toHaveTextContent("INFO loading");
});

it("says where the log is that is not on the server's machine", async () => {
  log = "";
  show([training({ status: "completed" })]);
  const region = await screen.findByRole("region", { name: "Log" });
  expect(
    await within(region).findByText(
      /not on the server's machine. Look on the worker's machine, in trainings\/t1\/log.txt/,
    ),
  ).toBeVisible();
});

it("says what went wrong and what to do, and goes on from there", async () => {
  const error = {
    code: "training_diverged",
    message: "The loss is not a number.",
    hint: "Use a smaller learning_rate.",
  };
  show([training({ status: "failed", error, resumable: true })]);
  const alert = await screen.findByRole("alert");
  expect(alert).toHaveTextContent("The loss is not a number. Use a smaller learning_rate.");
  expect(within(alert).getByRole("link", { name: "New run from this…" })).toHaveAttribute(
    "href",
    "/training/new?from=t1",
  );
  server.use(
    http.post(api("/trainings/t1/resume"), () =>
      HttpResponse.json(training({ status: "pending", updated_at: "2026-11-24T10:03:00.000Z" }), { status: 202 }),
    ),
  );
  await userEvent.click(screen.getByRole("button", { name: /^Resume/ }));
  expect(await screen.findByText("Waiting for a worker")).toBeVisible();
});

it("gives the lines that use the result, and deletes it on request", async () => {
  show([training({ status: "completed", output_path: "/home/runs/t1/sae", finished_at: "2026-11-24T10:05:01.000Z" })]);
  const result = await screen.findByRole("region", { name: "Result" });
  expect(within(result).getByLabelText("Code for a notebook")).toHaveTextContent(
    'SAE.load_from_disk("/home/runs/t1/sae")',
  );
  expect(screen.getByText("5 min")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Delete…" }));
  const question = await screen.findByRole("dialog", { name: "Delete Qwen3-0.6B, model.layers.14" });
  server.use(http.delete(api("/trainings/t1"), () => HttpResponse.json({ freed_bytes: 67_145_728 })));
  await userEvent.click(within(question).getByRole("button", { name: "Delete and free 67.1 MB" }));
  expect(await screen.findByText("Deleting")).toBeVisible();
  act(doNow);
  expect(await screen.findByText("No training run yet")).toBeVisible();
});

it("lets a deletion be taken back for ten seconds, and says when it is refused", async () => {
  const asked = vi.fn();
  server.use(
    http.delete(api("/trainings/t1"), () => {
      asked();
      return refuse(problem(409, "conflict", "It is being read."));
    }),
  );
  show([training({ status: "completed", output_path: "/home/runs/t1/sae", finished_at: "2026-11-24T10:05:01.000Z" })]);
  const remove = async () => {
    await userEvent.click(await screen.findByRole("button", { name: "Delete…" }));
    await userEvent.click(await screen.findByRole("button", { name: "Delete and free 67.1 MB" }));
  };
  await remove();
  expect(await screen.findByText("Deleting")).toBeVisible();
  await userEvent.click(await screen.findByRole("button", { name: "Undo" }));
  expect(await screen.findByText("Completed")).toBeVisible();
  expect(asked).not.toHaveBeenCalled();

  await userEvent.click(screen.getByRole("link", { name: "Qwen3-0.6B, model.layers.14" }));
  await remove();
  act(doNow);
  expect(await screen.findByText(/It is being read/)).toBeVisible();
  expect(await screen.findByText("Completed")).toBeVisible();
});

it("says when a run is not there, or cannot be read", async () => {
  show([], "/training/gone");
  expect(await screen.findByText("Run not found")).toBeVisible();
});

it("lists runs in the order they are worked on, then those that ended, and leads to each", async () => {
  const at = (hour: number) => `2026-11-25T${hour}:00:00.000Z`;
  show(
    [
      training({ id: "t2", status: "completed", created_at: at(10), hook_point: "old" }),
      training({ id: "t3", status: "failed", created_at: at(11), hook_point: "new" }),
      // Resumed after the other one was started.
      training({ id: "t4", status: "pending", created_at: at(12), updated_at: at(15), hook_point: "third" }),
      training({ id: "t5", status: "pending", created_at: at(13), updated_at: at(13), hook_point: "second" }),
      training(),
    ],
    "/training",
  );
  const list = await screen.findByRole("list", { name: "Training runs" });
  const names = within(list)
    .getAllByRole("heading")
    .map((heading) => heading.textContent.split(", ")[1]);
  expect(names).toEqual(["model.layers.14", "second", "third", "new", "old"]);
  const first = within(within(list).getAllByRole("listitem")[0] ?? list);
  for (const fact of [
    "TopK",
    "8,192 features",
    "k 64",
    "2.00 M tokens",
    /^requested 24 Nov 2026, \d\d:\d\d$/,
    "12 of 8,192",
  ])
    expect(first.getByText(fact)).toBeVisible();
  expect(within(list).getByRole("link", { name: "Qwen3-0.6B, model.layers.14" })).toHaveAttribute(
    "href",
    "/training/t1",
  );
  await expectAccessible();
});

it("tries again where the list could not be read", async () => {
  show([], "/training");
  await screen.findByText("No training run yet");
  server.use(http.get(api("/trainings"), () => refuse(problem(500, "internal_error", "The database is locked."))));
  useTrainingsStore.setState({ byId: {}, load: { state: "idle" } });
  expect(await screen.findByText(/The database is locked/)).toBeVisible();
  server.use(http.get(api("/trainings"), () => HttpResponse.json(trainingPage([training()]))));
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(screen.getByRole("list", { name: "Training runs" })).toBeVisible());
});

it("tells the runs that are under way from a list that could not be read", async () => {
  server.use(http.get(api("/trainings"), () => refuse(problem(500, "internal_error", "The database is locked."))));
  useTrainingsStore.setState({ byId: { t1: training() }, load: { state: "idle" } });
  renderPage(<TrainingPanel />, "/training");
  expect(await screen.findByText("Could not load the finished runs; running ones are below")).toBeVisible();
});

it("leads to a model first where none is ready", async () => {
  useModelsStore.setState({ byId: { m1: model({ status: "downloading" }) } });
  show([], "/training");
  expect(await screen.findByRole("link", { name: "Get a model" })).toHaveAttribute("href", "/models?view=hub");
});

it("has its heading and its way back before the run is read", () => {
  server.use(http.get(api("/trainings"), () => new Promise<never>(() => undefined)));
  renderPage(<TrainingRun />, "/training/t1");
  expect(screen.getByRole("heading", { level: 1, name: "Training run" })).toBeVisible();
  expect(screen.getByRole("link", { name: "Training" })).toHaveAttribute("href", "/training");
  expect(screen.getByRole("status", { name: "Loading the run" })).toBeVisible();
});

it("offers the same settings again, and deletes what did not finish without naming bytes", async () => {
  show([training({ status: "cancelled", resumable: true })]);
  const again = await screen.findByRole("link", { name: "New run from this…" });
  expect(again).toHaveAttribute("href", "/training/new?from=t1");
  await userEvent.click(screen.getByRole("button", { name: "Delete…" }));
  const question = await screen.findByRole("dialog", { name: "Delete Qwen3-0.6B, model.layers.14" });
  expect(within(question).getByRole("button", { name: "Delete" })).toBeVisible();
  expect(question).toHaveTextContent("Its checkpoint, its curves and its log are removed");
});

it("says that a run that has just begun has written nothing yet", async () => {
  log = "";
  show([training()]);
  expect(await screen.findByText(/^Nothing is written yet. If a worker on another machine trains/)).toBeVisible();
});
