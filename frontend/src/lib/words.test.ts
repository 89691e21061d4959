import { describe, expect, it } from "vitest";
import { model } from "../test/fixtures";
import { loadSnippet } from "./words";

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
});
