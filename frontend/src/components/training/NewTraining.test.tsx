import { act, cleanup, fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { Route, Routes } from "react-router";
import { beforeEach, expect, it } from "vitest";
import { doNow } from "../../lib/later";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import { model, problem, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import { compatibility, plan, training, trainingPage } from "../../test/trainingFixtures";
import type { TrainingCompatibility, TrainingRequest } from "../../types/training";
import NewTraining from "./NewTraining";

let planned: TrainingRequest[];

beforeEach(() => {
  planned = [];
  const m1 = model({ quantization: "4bit" });
  useModelsStore.setState({ byId: { m1 }, ids: ["m1"], live: {}, pending: {}, load: { state: "ready" } });
  useSystemStore.setState({ system: system({ extras: { torch: true, sae: true } }) });
  useTrainingsStore.setState({ byId: {}, pending: {}, load: { state: "idle" } });
  server.use(
    http.get(api("/models/m1/training-compatibility"), () => HttpResponse.json(compatibility())),
    http.post(api("/trainings/plan"), async ({ request }) => {
      planned.push((await request.json()) as TrainingRequest);
      return HttpResponse.json(plan());
    }),
  );
});

function show(path = "/training/new?model=m1") {
  renderPage(
    <Routes>
      <Route path="training/new" element={<NewTraining />} />
      <Route path="training/:id" element={<p>The run</p>} />
    </Routes>,
    path,
  );
}

function answerCompatibility(changes: Partial<TrainingCompatibility>) {
  server.use(http.get(api("/models/m1/training-compatibility"), () => HttpResponse.json(compatibility(changes))));
}

const textFile = () => screen.findByRole("textbox", { name: "Text file" });

/** All at once: letter by letter, the form is drawn eighteen times, which takes seconds on a busy machine. */
async function enterTextFile() {
  fireEvent.change(await textFile(), { target: { value: "/data/corpus.jsonl" } });
}

const start = () => screen.getByRole("button", { name: "Start training" });

it("finds the width in the model, plans what is typed, and starts it", async () => {
  let started: TrainingRequest | null = null;
  server.use(
    http.post(api("/trainings"), async ({ request }) => {
      started = (await request.json()) as TrainingRequest;
      return HttpResponse.json(training({ id: "t9", status: "pending" }), { status: 202 });
    }),
  );
  show();
  expect(await screen.findByText("d_in is 1,024")).toBeVisible();
  expect(screen.getByText(/^Ready for SAE training/)).toBeVisible();
  expect(screen.getByText("d_sae = 8 × 1,024 = 8,192 features")).toBeVisible();
  expect(screen.getByText("Still needed: a text file.")).toBeVisible();
  expect(start()).toBeDisabled();
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Kind of hook point" }), "MLP");
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Layer" }), "Layer 3");
  const field = await textFile();
  // No time passes in between, however long each takes.
  for (const value of ["/", "/data", "/data/corpus", "/data/corpus.jsonl"])
    fireEvent.change(field, { target: { value } });
  expect(await screen.findByText("Fits in system memory: 3.00 GB of the 20.0 GB free")).toBeVisible();
  // One question once the typing was over, not one per letter.
  expect(planned).toHaveLength(1);
  expect(planned[0]).toMatchObject({
    model_id: "m1",
    hook_point: "model.layers.3.mlp",
    k: null,
    training_tokens: 2_000_000,
  });
  // The only column that holds text is taken, and shown.
  expect(planned[0]).toMatchObject({ dataset: { path: "/data/corpus.jsonl", column: null }, dtype: "auto" });
  expect(screen.getByRole("combobox", { name: "Column with the text" })).toHaveValue("text");
  expect(screen.getByText("≈ 5.20 M tokens in the column text, of which 38 % are read")).toBeVisible();
  await expectAccessible();
  await userEvent.click(start());
  expect(await screen.findByText("The run")).toBeVisible();
  expect(started).toEqual(planned[0]);
});

it("refuses with the figures of what does not fit", async () => {
  server.use(
    http.post(api("/trainings/plan"), () =>
      HttpResponse.json(
        plan({
          fits: false,
          total_bytes: 40e9,
          refusal: { code: "out_of_memory", message: "The run needs 40.00 GB of cpu.", hint: "Use a smaller batch." },
        }),
      ),
    ),
  );
  show();
  await enterTextFile();
  expect(await screen.findByText("The run needs 40.00 GB of cpu. Use a smaller batch.")).toBeVisible();
  expect(screen.getByText("40.0 GB")).toBeVisible();
  expect(start()).toBeDisabled();
});

it("shows at its field what the server says of it", async () => {
  const message = "k is 90000, but there are only 8192 features.";
  server.use(
    http.post(api("/trainings/plan"), () =>
      refuse(problem(422, "invalid_request", message, { hint: "Use a smaller k.", errors: [{ field: "k", message }] })),
    ),
  );
  show();
  await enterTextFile();
  const field = screen.getByRole("textbox", { name: "k" });
  await waitFor(() => expect(field).toHaveAccessibleDescription(expect.stringContaining(message)));
  expect(screen.getByText("Correct the marked field. Use a smaller k.")).toBeVisible();
  expect(start()).toBeDisabled();
});

it("takes a small number as it is typed", async () => {
  show();
  await enterTextFile();
  const field = screen.getByRole("textbox", { name: "Learning rate" });
  await userEvent.clear(field);
  expect(screen.getByText("Still needed: the empty number fields.")).toBeVisible();
  await userEvent.type(field, "0.0005");
  expect(field).toHaveValue("0.0005");
  await waitFor(() => expect(planned.at(-1)).toMatchObject({ learning_rate: 0.0005 }));
});

it("changes what is asked for with the architecture", async () => {
  show();
  await enterTextFile();
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "SAE architecture" }), "standard");
  expect(screen.queryByRole("textbox", { name: "k" })).toBeNull();
  await userEvent.type(screen.getByRole("textbox", { name: "L1 coefficient" }), "2.5");
  await waitFor(() => expect(planned.at(-1)).toMatchObject({ architecture: "standard", k: null, l1_coefficient: 2.5 }));
});

it("says how to install what is missing, and still plans", async () => {
  const command = "/opt/modelyard/bin/python -m pip install 'modelyard[sae]' torch==2.13.0 transformers==5.23.0";
  useSystemStore.setState({ system: system({ extras: { torch: true, sae: false, sae_install: command } }) });
  const refusal = { code: "sae_engine_missing", message: "modelyard[sae] is not installed.", hint: "pip install" };
  server.use(http.post(api("/trainings/plan"), () => HttpResponse.json(plan({ refusal }))));
  show();
  expect(await screen.findByText(command)).toBeVisible();
  await enterTextFile();
  expect(await screen.findByText(/^Fits in system memory/)).toBeVisible();
  expect(start()).toBeDisabled();
  expect(screen.getByText("SAELens is not installed.")).toBeVisible();
});

it("lets an unverified model be tried and says why it is unverified", async () => {
  answerCompatibility({
    compatible: null,
    reasons: [{ code: "unverified", message: "the forward pass needs weights." }],
  });
  show();
  const alert = await screen.findByRole("alert");
  expect(alert).toHaveTextContent("Not verified for SAE training");
  expect(alert).toHaveTextContent("The forward pass needs weights. It may still work");
  await enterTextFile();
  await waitFor(() => expect(start()).toBeEnabled());
});

it("stops at a model that cannot be trained on, with the reason", async () => {
  answerCompatibility({
    compatible: false,
    hook_points: [],
    reasons: [{ code: "encoder_only", message: "This is an encoder." }],
  });
  show();
  expect(await screen.findByRole("alert")).toHaveTextContent("This is an encoder. Choose another model.");
  await enterTextFile();
  expect(screen.getByText("This model cannot be trained on.")).toBeVisible();
  expect(planned).toEqual([]);
});

it("takes the path and the column from a file that is sent", async () => {
  server.use(
    http.post(api("/datasets"), () =>
      HttpResponse.json(
        { path: "/home/datasets/corpus.jsonl", rows: 1200, columns: ["title", "body"], size_bytes: 2e6 },
        { status: 201 },
      ),
    ),
  );
  show();
  await textFile();
  const input = document.querySelector<HTMLInputElement>("input[type=file]");
  if (input === null) throw new Error("no file input");
  await userEvent.upload(input, new File(["{}"], "corpus.jsonl"));
  expect(await screen.findByText("1,200 rows, 2.00 MB, text columns: title, body")).toBeVisible();
  expect(await textFile()).toHaveValue("/home/datasets/corpus.jsonl");
  const column = screen.getByRole("combobox", { name: "Column with the text" });
  expect(column).toHaveDisplayValue("Choose a column");
  await userEvent.selectOptions(column, "body");
  await waitFor(() => expect(planned.at(-1)?.dataset).toEqual({ path: "/home/datasets/corpus.jsonl", column: "body" }));
});

it("says why a file was not stored", async () => {
  server.use(http.post(api("/datasets"), () => refuse(problem(422, "invalid_request", "Line 3 is no JSON."))));
  show();
  await textFile();
  await userEvent.upload(
    document.querySelector<HTMLInputElement>("input[type=file]") as HTMLInputElement,
    new File(["x"], "a.jsonl"),
  );
  expect(await screen.findByText(/Line 3 is no JSON/)).toBeVisible();
});

it("offers the models that are ready, with precision and memory", async () => {
  show("/training/new");
  await userEvent.click(screen.getByRole("combobox", { name: "Model" }));
  const choice = await screen.findByRole("option", { name: /Qwen3-0.6B/ });
  expect(within(choice).getByText("4-bit", { exact: false })).toBeInTheDocument();
  expect(choice).toHaveTextContent("1.19 GB");
  await userEvent.click(choice);
  expect(await screen.findByText("d_in is 1,024")).toBeVisible();
});

it("leads to the models where none is ready", () => {
  useModelsStore.setState({ byId: {}, ids: [] });
  show();
  expect(screen.getByRole("link", { name: "Get a model" })).toHaveAttribute("href", "/models?view=hub");
});

it("is filled in from an earlier run, whose list is read first", async () => {
  const run = training({
    status: "failed",
    hook_point: "model.layers.3.mlp",
    batch_tokens: 8192,
    k: 48,
    device: "cuda:7",
  });
  server.use(http.get(api("/trainings"), () => HttpResponse.json(trainingPage([run]))));
  show("/training/new?from=t1");
  expect(await textFile()).toHaveValue("/data/corpus.jsonl");
  expect(screen.getByRole("textbox", { name: "k" })).toHaveValue("48");
  expect(await screen.findByRole("combobox", { name: "Kind of hook point" })).toHaveValue("mlp");
  expect(screen.getByRole("combobox", { name: "Device" })).toHaveValue("cuda:7");
  const batch = screen.getByRole("textbox", { name: "Batch" });
  await userEvent.clear(batch);
  await userEvent.type(batch, "2048");
  await waitFor(() =>
    expect(planned.at(-1)).toMatchObject({
      model_id: "m1",
      hook_point: "model.layers.3.mlp",
      dataset: { path: "/data/corpus.jsonl", column: "text" },
      batch_tokens: 2048,
      k: 48,
      checkpoint_seconds: 600,
    }),
  );
});

it("takes the usual settings where the run of the address is gone, and says when its model is", async () => {
  server.use(http.get(api("/trainings"), () => HttpResponse.json(trainingPage([training({ model_id: null })]))));
  show("/training/new?from=t0");
  expect(await screen.findByText(/these are the default settings/)).toBeVisible();
  expect(await textFile()).toHaveValue("");
  cleanup();
  show("/training/new?from=t1");
  expect(await screen.findByText("The model of that run is not ready")).toBeVisible();
  expect(await textFile()).toHaveValue("/data/corpus.jsonl");
});

it("says what is taken where k is left empty", async () => {
  show();
  await screen.findByText("d_in is 1,024");
  expect(screen.getByRole("textbox", { name: "k" })).toHaveAccessibleDescription(
    "Active features per token; 64 if empty",
  );
});

it("offers the columns of a typed path once the server has named them", async () => {
  const message = "corpus.jsonl has 2 text columns.";
  server.use(
    http.post(api("/trainings/plan"), async ({ request }) => {
      const asked = (await request.json()) as TrainingRequest;
      planned.push(asked);
      if (asked.dataset.column !== null)
        return HttpResponse.json(plan({ dataset_column: "body", dataset_columns: ["title", "body"] }));
      const errors = [{ field: "dataset.column", message, columns: ["title", "body"] }];
      return refuse(problem(422, "invalid_request", message, { hint: "Its text columns are title, body.", errors }));
    }),
  );
  show();
  expect(await screen.findByRole("textbox", { name: "Column with the text" })).toBeVisible();
  await enterTextFile();
  const column = await screen.findByRole("combobox", { name: "Column with the text" });
  expect(column).toHaveAccessibleDescription(message);
  await userEvent.selectOptions(column, "body");
  await waitFor(() => expect(planned.at(-1)?.dataset.column).toBe("body"));
  await waitFor(() => expect(start()).toBeEnabled());
  await userEvent.type(await textFile(), "2");
  expect(screen.getByRole("textbox", { name: "Column with the text" })).toHaveValue("");
});

it("sends what was typed, so that the server can refuse it", async () => {
  show();
  await enterTextFile();
  for (const [name, text] of [
    ["Seed", "-1"],
    ["Checkpoint every", "0"],
  ] as const) {
    const field = screen.getByRole("textbox", { name });
    await userEvent.clear(field);
    await userEvent.type(field, text);
    expect(field).toHaveValue(text);
  }
  await waitFor(() => expect(planned.at(-1)).toMatchObject({ seed: -1, checkpoint_seconds: 0 }));
});

it("asks for a precision only of a model that is not quantized", async () => {
  const m2 = model({ id: "m2", quantization: "none" });
  useModelsStore.setState(({ byId }) => ({ byId: { ...byId, m2 }, ids: ["m1", "m2"] }));
  server.use(http.get(api("/models/m2/training-compatibility"), () => HttpResponse.json(compatibility())));
  show();
  await textFile();
  const precision = () => screen.getByRole("combobox", { name: "Model's precision" });
  expect(within(precision()).getByRole("option", { name: "float32" })).toBeDisabled();
  cleanup();
  show("/training/new?model=m2");
  await enterTextFile();
  await userEvent.selectOptions(precision(), "float32");
  await waitFor(() => expect(planned.at(-1)).toMatchObject({ dtype: "float32" }));
});

it("puts models that cannot be trained on last, with the reason", async () => {
  const reasons = [{ code: "encoder_only", message: "this is an encoder." }];
  const bert = model({ id: "bert", model_id: "google/bert", training: { compatible: false, reasons } });
  const odd = model({ id: "odd", model_id: "owner/odd", training: { compatible: null, reasons: [] } });
  useModelsStore.setState(({ byId }) => ({ byId: { bert, odd, ...byId }, ids: ["bert", "odd", "m1"] }));
  show("/training/new");
  await userEvent.click(screen.getByRole("combobox", { name: "Model" }));
  const options = await screen.findAllByRole("option", { name: /\// });
  expect(options).toHaveLength(3);
  expect(options[0]).toHaveTextContent("not verified");
  expect(options[1]).not.toHaveTextContent("not verified");
  expect(options[2]).toHaveTextContent("google/bert");
  expect(options[2]).toHaveTextContent("This is an encoder.");
  expect(options[2]).toHaveAttribute("data-combobox-disabled", "true");
});

function serveSent() {
  const file = {
    name: "a-1.jsonl",
    path: "/home/datasets/a-1.jsonl",
    size_bytes: 2e6,
    created_at: "2026-11-24T10:00:00.000Z",
    used_by: [{ id: "t1", status: "cancelled" }],
  };
  const stored = { files: [file] };
  server.use(
    http.get(api("/datasets"), () => HttpResponse.json({ items: stored.files })),
    http.delete(api("/datasets/a-1.jsonl"), () => {
      stored.files = [];
      return HttpResponse.json({ freed_bytes: 2e6 });
    }),
  );
  return stored;
}

const sentBefore = { name: "Uploaded before" };

it("offers what was sent before, and deletes it when asked twice", async () => {
  const stored = serveSent();
  show();
  await userEvent.selectOptions(await screen.findByRole("combobox", sentBefore), "a-1.jsonl, 2.00 MB");
  expect(await textFile()).toHaveValue("/home/datasets/a-1.jsonl");
  await waitFor(() => expect(planned.at(-1)?.dataset.path).toBe("/home/datasets/a-1.jsonl"));
  await userEvent.click(screen.getByRole("button", { name: "Delete…" }));
  expect(await screen.findByText(/1 training run uses it/)).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Delete and free 2.00 MB" }));
  await waitFor(() => expect(screen.queryByRole("combobox", sentBefore)).toBeNull());
  expect(await textFile()).toHaveValue("");
  act(doNow);
  expect(await screen.findByText("a-1.jsonl deleted")).toBeVisible();
  expect(stored.files).toEqual([]);
});

it("lets the deletion of a file be taken back before the server is told", async () => {
  const stored = serveSent();
  show();
  await userEvent.selectOptions(await screen.findByRole("combobox", sentBefore), "a-1.jsonl, 2.00 MB");
  await userEvent.click(await screen.findByRole("button", { name: "Delete…" }));
  await userEvent.click(await screen.findByRole("button", { name: "Delete and free 2.00 MB" }));
  await waitFor(() => expect(screen.queryByRole("combobox", sentBefore)).toBeNull());
  await userEvent.click(await screen.findByRole("button", { name: "Undo" }));
  expect(await screen.findByRole("combobox", sentBefore)).toBeVisible();
  expect(stored.files).toHaveLength(1);
});
