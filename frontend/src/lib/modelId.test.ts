import { expect, it } from "vitest";
import { parseModelReference } from "./modelId";

it.each([
  ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", null],
  ["  gpt2 ", "gpt2", null],
  ["gpt2@v1.0", "gpt2", "v1.0"],
  ["https://huggingface.co/meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B", null],
  ["https://huggingface.co/gpt2/", "gpt2", null],
  ["huggingface.co/Qwen/Qwen3-0.6B/tree/refs%2Fpr%2F1", "Qwen/Qwen3-0.6B", "refs/pr/1"],
  ["https://hf.co/EleutherAI/pythia-70m/blob/step1000/config.json", "EleutherAI/pythia-70m", "step1000"],
  ["http://127.0.0.1:8000/hub/modelyard-samples/tiny-gpt2", "modelyard-samples/tiny-gpt2", null],
])("%s names a model", (text, model_id, revision) => expect(parseModelReference(text)).toEqual({ model_id, revision }));

it.each([
  "",
  "Qwen/",
  "a/b/c",
  "a b",
  "../etc",
  "-x",
  "gpt2@",
  "https://huggingface.co/datasets/a/b",
  "a--b/c",
  "https://",
])("%s names none", (text) => expect(parseModelReference(text)).toBeNull());
