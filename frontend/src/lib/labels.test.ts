import { describe, expect, it } from "vitest";
import { adapter, model } from "../test/fixtures";
import { loadSnippet } from "./labels";

describe("loadSnippet", () => {
  it.each([
    ["LlamaForCausalLM", "AutoModelForCausalLM, AutoTokenizer"],
    ["GPT2LMHeadModel", "AutoModelForCausalLM, AutoTokenizer"],
    ["BertForMaskedLM", "AutoTokenizer, BertForMaskedLM"],
    ["T5ForConditionalGeneration", "AutoTokenizer, T5ForConditionalGeneration"],
    ["GPT2Model", "AutoTokenizer, GPT2Model"],
    [null, "AutoModel, AutoTokenizer"],
    ['x"; import os', "AutoModel, AutoTokenizer"],
  ])("imports the class that keeps the head of a %s", (architecture, imported) => {
    expect(loadSnippet(model({ architecture }))).toContain(`from transformers import ${imported}\n`);
  });

  it("puts an adapter on its base", () => {
    const lines = loadSnippet(adapter({ revision: "v2" }));
    expect(lines).toContain('model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen3-0.6B", dtype="auto")');
    expect(lines).toContain('model = PeftModel.from_pretrained(model, "lab/lora", revision="v2")');
  });

  it.each(["http://127.0.0.1:8000/hub", "local"])("names the folder of a model from %s", (endpoint) => {
    const lines = loadSnippet(model({ endpoint, snapshot_path: "/hub/snapshots/1" }));
    expect(lines).toContain('AutoTokenizer.from_pretrained("/hub/snapshots/1")');
    expect(lines).toContain('from_pretrained("/hub/snapshots/1", dtype="auto")');
  });
});
