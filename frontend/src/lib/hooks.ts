/** Hook points as words and as code that reads them. */
import type { Architecture, HookKind, HookPoint } from "../types/model";
import { type PretrainedSource, pythonArguments } from "./labels";

export const KIND_LABEL: Record<HookKind, string> = {
  residual: "residual stream",
  attention: "attention",
  mlp: "MLP",
  mixer: "mixer",
  norm: "norm",
};

export interface HookFilter {
  layer: number | null;
  kind: HookKind | null;
}

export function filterHooks(points: HookPoint[], { layer, kind }: HookFilter): HookPoint[] {
  return points.filter((point) => (layer === null || point.layer === layer) && (kind === null || point.kind === kind));
}

export function formatShape(shape: HookPoint["shape"]): string {
  return `(${shape.join(", ")})`;
}

/** What all points of a list have in common, of several. */
export interface SameOfAll {
  kind: HookPoint["kind"] | undefined;
  /** Whether what they put out is alike: form, shape, and whether it was verified. */
  output: boolean;
  first: HookPoint | undefined;
}

export function sameOfAll(points: HookPoint[]): SameOfAll {
  const [first] = points;
  const several = points.length > 1;
  const outputOf = ({ output, shape, verified }: HookPoint) => JSON.stringify([output, shape, verified]);
  return {
    kind: several && points.every(({ kind }) => kind === first?.kind) ? first?.kind : undefined,
    output: several && first !== undefined && points.every((point) => outputOf(point) === outputOf(first)),
    first,
  };
}

/** The same in a sentence, in place of columns that would repeat it; empty where they have nothing in common. */
export function sameLabel({ kind, output, first }: SameOfAll): string {
  if (first === undefined || (kind === undefined && !output)) return "";
  const { output: form, shape, verified } = first;
  const parts = [
    kind === undefined ? "" : KIND_LABEL[kind],
    output ? `${form === "tuple" ? "first of the tuple" : "tensor"} ${formatShape(shape)}` : "",
    output ? (verified ? "verified" : "unverified") : "",
  ];
  return `All: ${parts.filter(Boolean).join(", ")}.`;
}

/** What a flag means to whoever reads or edits activations. */
const FLAGS: Record<string, { word: string; meaning: string }> = {
  tied_weights: {
    word: "tied weights",
    meaning: "The output embedding is the input embedding. It is stored once and counted once.",
  },
  post_norm: {
    word: "post-norm",
    meaning:
      "The output of a sublayer is normalized before it is added to the residual stream. Read its contribution after that norm.",
  },
  mixture_of_experts: {
    word: "mixture of experts",
    meaning: "Each token passes through a few of many MLPs. The MLP hook point is their weighted sum.",
  },
  hybrid: {
    word: "hybrid",
    meaning: "The blocks are not all alike: some have attention, others another kind of mixer.",
  },
  parallel_sublayers: {
    word: "parallel sublayers",
    meaning: "Attention and MLP read the same input, so there is no residual stream between the two.",
  },
  residual_multiplier: {
    word: "scaled residuals",
    meaning: "The output of a sublayer is multiplied by a constant before it is added to the residual stream.",
  },
  hyper_connections: {
    word: "hyper-connections",
    meaning: "The residual stream has several lanes, so activations have one more dimension than usual.",
  },
  encoder_decoder: {
    word: "encoder and decoder",
    meaning: "The blocks listed are the decoder's. A forward pass needs decoder inputs as well.",
  },
};

export function flagLabel(flag: string): { word: string; meaning: string | null } {
  return FLAGS[flag] ?? { word: flag.replaceAll("_", " "), meaning: null };
}

export type SnippetKind = "transformers" | "transformer_lens" | "sae_lens";

export const SNIPPET_LABEL: Record<SnippetKind, string> = {
  transformers: "transformers",
  transformer_lens: "TransformerLens",
  sae_lens: "SAELens",
};

/** Code for each library that can read this point; why not, where one cannot. */
export type Snippets = Record<SnippetKind, { code: string } | { because: string }>;

type About = Pick<Architecture, "model_class" | "flags">;

export function snippetsFor(point: HookPoint, about: About, source: PretrainedSource): Snippets {
  return {
    transformers: { code: forwardHook(point, about, source) },
    transformer_lens: transformerLens(point, source),
    sae_lens: saeLens(point, about, source),
  };
}

const PROMPT = '"The quick brown fox jumps"';

function forwardHook(point: HookPoint, { model_class, flags }: About, source: PretrainedSource): string {
  const inputs = `tokenizer(${PROMPT}, return_tensors="pt")`;
  const call = flags.includes("encoder_decoder")
    ? [`        inputs = ${inputs}`, '        model(**inputs, decoder_input_ids=inputs["input_ids"])']
    : [`        model(**${inputs})`];
  return [
    "import torch",
    `from transformers import AutoTokenizer, ${model_class}`,
    "",
    `tokenizer = AutoTokenizer.from_pretrained(${pythonArguments(source)})`,
    `model = ${model_class}.from_pretrained(${pythonArguments(source)}, dtype="auto")`,
    "captured = {}",
    "",
    "def keep(module, args, output):",
    "    hidden = output[0] if isinstance(output, tuple) else output",
    '    captured["hidden"] = hidden.detach()',
    "",
    `handle = model.get_submodule("${point.path}").register_forward_hook(keep)`,
    "try:",
    "    with torch.no_grad():",
    ...call,
    "finally:",
    "    handle.remove()",
    `print(captured["hidden"].shape)  # ${formatShape(point.shape)}`,
  ].join("\n");
}

function transformerLens(point: HookPoint, source: PretrainedSource): Snippets["transformer_lens"] {
  const name = point.transformer_lens;
  if (name === null) return { because: "TransformerLens has no name for this point of this architecture." };
  if (isFolder(source.name)) return { because: "TransformerLens loads models by their name, not a quantized copy." };
  const lines = [
    "from transformer_lens import HookedTransformer",
    "",
    "# TransformerLens takes the names of its own list: transformer_lens.loading_from_pretrained.OFFICIAL_MODEL_NAMES.",
    "# For another model of the same architecture give a name of that list, and hf_model=… the model from transformers.",
    "# Without processing, the values are those of transformers.",
    `model = HookedTransformer.from_pretrained_no_processing(${pythonArguments(source)})`,
    `logits, cache = model.run_with_cache(${PROMPT}, names_filter="${name}")`,
    `print(cache["${name}"].shape)  # ${formatShape(point.shape)}`,
  ];
  return { code: lines.join("\n") };
}

function isFolder(name: string): boolean {
  return /^\/|^[A-Za-z]:[\\/]/.test(name);
}

function saeLens(point: HookPoint, { model_class }: About, source: PretrainedSource): Snippets["sae_lens"] {
  if (!/ForCausalLM$|LMHeadModel$/.test(model_class))
    return { because: `SAELens loads causal language models; this is a ${model_class}.` };
  if (point.shape[0] !== "batch" || point.shape.length !== 3)
    return { because: `SAELens reads (batch, seq, width); this point gives ${formatShape(point.shape)}.` };
  const revision =
    source.revision === null ? [] : [`    model_from_pretrained_kwargs={"revision": "${source.revision}"},`];
  return {
    code: [
      "from sae_lens import LanguageModelSAERunnerConfig, TopKTrainingSAEConfig",
      "",
      "config = LanguageModelSAERunnerConfig(",
      `    model_name=${JSON.stringify(source.name)},`,
      '    model_class_name="AutoModelForCausalLM",',
      ...revision,
      `    hook_name="${point.path}",`,
      `    sae=TopKTrainingSAEConfig(d_in=${point.width}, d_sae=8 * ${point.width}, k=32),`,
      ")",
    ].join("\n"),
  };
}
