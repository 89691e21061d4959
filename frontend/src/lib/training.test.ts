import { expect, it } from "vitest";
import { compatibility, plan, training } from "../test/trainingFixtures";
import {
  choicesOf,
  compatibilityLabel,
  draftOf,
  formatEpochs,
  FIRST_DRAFT,
  fitLabel,
  kindsOf,
  formatMetric,
  notebookLines,
  pointFor,
  progressFigures,
  requestOf,
  suggestedPoint,
  trainingPhaseLabel,
} from "./training";

const points = compatibility().hook_points;

it("suggests the residual stream in the middle and keeps the layer across kinds", () => {
  expect(suggestedPoint(points)?.path).toBe("model.layers.2");
  expect(kindsOf(points)).toEqual(["residual", "mlp", "norm"]);
  expect(pointFor(points, "mlp", 3)?.path).toBe("model.layers.3.mlp");
  expect(pointFor(points, "norm", 3)?.path).toBe("model.norm");
  expect(suggestedPoint([])).toBeUndefined();
});

it("names points by their layer, and by their path where that is not enough", () => {
  expect(choicesOf(points, "mlp")[1]).toEqual({ value: "model.layers.1.mlp", label: "Layer 1" });
  expect(choicesOf(points, "norm")).toEqual([{ value: "model.norm", label: "model.norm" }]);
  const twice = points.map((point) => ({ ...point, kind: "residual" as const }));
  expect(choicesOf(twice, "residual")[0]?.label).toBe("Layer 0, model.layers.0");
});

it("asks for what the form says, and for nothing while something is missing", () => {
  const draft = { ...FIRST_DRAFT, path: " /data/a.jsonl ", column: " text ", checkpointMinutes: 0.5 as const };
  const answer = requestOf(draft, "m1", "model.layers.2");
  expect(answer).toMatchObject({
    request: {
      dataset: { path: "/data/a.jsonl", column: "text" },
      k: null,
      l1_coefficient: null,
      checkpoint_seconds: 30,
    },
  });
  expect(requestOf({ ...draft, architecture: "standard", k: 3, l1: 2 }, "m1", "x")).toMatchObject({
    request: { k: null, l1_coefficient: 2 },
  });
  // Whatever is typed is the server's to refuse.
  expect(requestOf({ ...draft, column: "", checkpointMinutes: 0, seed: -1 }, "m1", "x")).toMatchObject({
    request: { dataset: { column: null }, checkpoint_seconds: 0, seed: -1 },
  });
  expect(requestOf({ ...draft, path: "", tokens: "", seed: "" }, "m1", "")).toEqual({
    missing: ["hook_point", "dataset.path", "training_tokens", "seed"],
  });
});

it("does not call unverified incompatible", () => {
  expect(compatibilityLabel({ compatible: null, level: "structural" })).toMatch(/^Not verified/);
  expect(compatibilityLabel({ compatible: false, level: "static" })).toMatch(/not possible/);
  expect(compatibilityLabel({ compatible: true, level: "live" })).toMatch(/earlier run/);
});

it("writes figures with the digits that mean something", () => {
  expect([0.7123, -0.5, 32, 5193.2, 12.345, null].map((value) => formatMetric(value))).toEqual([
    "0.712",
    "-0.500",
    "32",
    "5,193",
    "12.3",
    "unknown",
  ]);
  expect(formatEpochs(plan())).toBe("≈ 5.20 M tokens in the column text, of which 38 % are read");
  expect(formatEpochs(plan({ epochs: 12.4 }))).toBe("≈ 5.20 M tokens in the column text, read 12 times");
  expect(formatEpochs(plan({ dataset_counted: true, epochs: 2 }))).toBe(
    "5.20 M tokens in the column text, read 2.0 times",
  );
  expect(formatEpochs(plan({ epochs: null, dataset_tokens: null }))).toBe(
    "unknown number of tokens in the column text",
  );
  expect(progressFigures(training())).toEqual(["819 k of 2.00 M tokens", "21.5 k tokens/s", "55 s left"]);
  expect(progressFigures(training({ status: "cancelled" }))).toEqual(["819 k of 2.00 M tokens"]);
});

it("names the idle models that a run needs the memory of", () => {
  expect(fitLabel(plan(), "system memory")).toBe("Fits in system memory: 3.00 GB of the 20.0 GB free");
  const unloads = [
    { id: "a", name: "Qwen3-0.6B", measured_bytes: 1.2e9 },
    { id: "b", name: "gpt2", measured_bytes: 0.3e9 },
  ];
  expect(fitLabel(plan({ free_bytes: 2e9, usable_bytes: 3.15e9, unloads }), "system memory")).toBe(
    "Fits in system memory: 3.00 GB of the 2.00 GB free plus 1.50 GB of idle models that are unloaded first: Qwen3-0.6B, gpt2",
  );
  expect(trainingPhaseLabel(training({ progress: { ...training().progress, phase: "making_room" } }))).toBe(
    "Unloading idle models",
  );
});

it("tells a run that waits for another from one that waits for a worker", () => {
  expect(trainingPhaseLabel(training({ status: "pending" }))).toBe("Waiting for a worker");
  expect(trainingPhaseLabel(training({ status: "pending" }), true)).toBe("Waiting for an earlier run");
  const error = { code: "disk_full", message: "The disk is full.", hint: null };
  expect(trainingPhaseLabel(training({ status: "pending", error }), true)).toBe("Waiting for room on the disk");
  expect(trainingPhaseLabel(training({ progress: { ...training().progress, phase: "starting" } }))).toBe(
    "Importing the libraries",
  );
  const filling = training({ progress: { ...training().progress, phase: "filling_buffer" } });
  expect(trainingPhaseLabel(filling)).toBe("Filling the activation buffer");
});

it("loads the model in the precision it was trained in", () => {
  const lines = notebookLines(training({ quantization: "4bit", output_path: "/home/runs/t1/sae" }));
  expect(lines).toContain('modelyard.load("Qwen/Qwen3-0.6B", quantization="4bit", revision="c1899de');
  expect(lines).toContain('SAE.load_from_disk("/home/runs/t1/sae")');
  expect(lines).toContain('get_submodule("model.layers.14")');
  expect(notebookLines(training())).not.toContain("quantization=");
  expect(notebookLines(training())).not.toContain("dtype=");
  expect(notebookLines(training({ dtype: "float32" }))).toContain(', dtype="float32")');
});

it("asks for the same again as an earlier run", () => {
  const { model_id, hook_point, dataset, k, batch_tokens, device, checkpoint_seconds } = training();
  expect(requestOf(draftOf(training()), model_id ?? "", hook_point)).toMatchObject({
    request: { model_id, hook_point, dataset, k, l1_coefficient: null, batch_tokens, device, checkpoint_seconds },
  });
});
