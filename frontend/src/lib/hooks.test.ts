import { describe, expect, it } from "vitest";
import { architecture, hookPoint } from "../test/fixtures";
import { filterHooks, flagLabel, formatShape, snippetsFor } from "./hooks";

const SOURCE = { name: "Qwen/Qwen3-0.6B", revision: null };
const about = architecture();

describe("snippets", () => {
  it("hook the module by its path, in the class its path belongs to", () => {
    const { transformers } = snippetsFor(hookPoint({ path: "model.layers.7" }), about, SOURCE);
    if (!("code" in transformers)) throw new Error(transformers.because);
    expect(transformers.code).toContain("from transformers import AutoTokenizer, Qwen3ForCausalLM");
    expect(transformers.code).toContain('model.get_submodule("model.layers.7").register_forward_hook(keep)');
    expect(transformers.code).toContain("output[0] if isinstance(output, tuple) else output");
    expect(transformers.code).toContain("# (batch, seq, 1024)");
  });

  it("pin a revision and give a decoder its inputs", () => {
    const { transformers, sae_lens } = snippetsFor(
      hookPoint(),
      { ...about, flags: ["encoder_decoder"] },
      { ...SOURCE, revision: "step1000" },
    );
    expect(transformers).toHaveProperty("code", expect.stringContaining('"Qwen/Qwen3-0.6B", revision="step1000"'));
    expect(transformers).toHaveProperty("code", expect.stringContaining("decoder_input_ids"));
    expect(sae_lens).toHaveProperty("code", expect.stringContaining('{"revision": "step1000"}'));
  });

  it("name the point for TransformerLens only where it has a name", () => {
    expect(snippetsFor(hookPoint(), about, SOURCE).transformer_lens).toHaveProperty(
      "code",
      expect.stringContaining('names_filter="blocks.0.hook_resid_post"'),
    );
    expect(snippetsFor(hookPoint(), about, SOURCE).transformer_lens).toHaveProperty(
      "code",
      expect.stringMatching(/OFFICIAL_MODEL_NAMES[^]*hf_model=/),
    );
    expect(snippetsFor(hookPoint({ transformer_lens: null }), about, SOURCE).transformer_lens).toHaveProperty(
      "because",
    );
    expect(snippetsFor(hookPoint(), about, { name: "/artifacts/q4", revision: null }).transformer_lens).toHaveProperty(
      "because",
    );
  });

  it("give SAELens the model, the hook and the width, and say where it cannot be used", () => {
    const point = hookPoint({ path: "model.layers.3", width: 896, shape: ["batch", "seq", 896] });
    const { sae_lens } = snippetsFor(point, about, SOURCE);
    if (!("code" in sae_lens)) throw new Error(sae_lens.because);
    for (const part of ['model_name="Qwen/Qwen3-0.6B"', 'hook_name="model.layers.3"', "d_in=896"])
      expect(sae_lens.code).toContain(part);
    expect(snippetsFor(point, { ...about, model_class: "BertModel" }, SOURCE).sae_lens).toHaveProperty(
      "because",
      expect.stringContaining("BertModel"),
    );
    expect(snippetsFor(hookPoint({ shape: ["batch*seq", 64] }), about, SOURCE).sae_lens).toHaveProperty(
      "because",
      expect.stringContaining("(batch*seq, 64)"),
    );
  });
});

it("filters by layer and kind", () => {
  const { hook_points: points } = about;
  expect(filterHooks(points, { layer: null, kind: null })).toHaveLength(4);
  expect(filterHooks(points, { layer: 1, kind: "attention" }).map((point) => point.path)).toEqual([
    "model.layers.1.self_attn",
  ]);
});

it("says in words what it knows, and the name of what it does not", () => {
  expect(flagLabel("post_norm")).toMatchObject({ word: "post-norm" });
  expect(flagLabel("brand_new")).toEqual({ word: "brand new", meaning: null });
  expect(formatShape(["batch", "seq", 4])).toBe("(batch, seq, 4)");
});
