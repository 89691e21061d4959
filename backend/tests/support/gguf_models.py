"""GGUF files of sample models, as llama.cpp's converter writes them."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

_CONTROL, _NORMAL = 3, 1
_CONFIG = {
    "dtype": "float32",
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": False,
    "vocab_size": 8192,
}
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
PARAMETERS = {"llama": 1_110_336, "qwen2": 1_110_592}


LLAMA3_ROPE = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "rope_type": "llama3",
}


def make_source(folder: Path, tokenizer: Path, model_type: str = "llama", **config: Any) -> Path:
    """A small random model with the tokenizer of another one; needs no torch, which takes seconds to import."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps(_CONFIG | {"model_type": model_type, "architectures": [_CLASSES[model_type]]} | config)
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, folder / name)
    generator = np.random.default_rng(7)
    shapes = _shapes(model_type)
    weights = {
        name: np.ones(shape, np.float32) if "norm" in name else generator.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _shapes(model_type: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (8192, 64),
        "model.norm.weight": (64,),
        "lm_head.weight": (8192, 64),
    }
    for layer in range(2):
        at = f"model.layers.{layer}."
        for name, rows in (("q", 64), ("k", 32), ("v", 32)):
            shapes[f"{at}self_attn.{name}_proj.weight"] = (rows, 64)
            if model_type == "qwen2":
                shapes[f"{at}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{at}self_attn.o_proj.weight"] = (64, 64)
        shapes |= {f"{at}mlp.{name}_proj.weight": (96, 64) for name in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (64, 96)
        shapes |= {f"{at}{name}_layernorm.weight": (64,) for name in ("input", "post_attention")}
    return shapes


def write_gguf(
    folder: Path,
    target: Path,
    *,
    quantization: str = "Q8_0",
    architecture: str | None = None,
    with_tokenizer: bool = True,
    split: int = 1,
    rope_scaling: str | None = None,
    without: tuple[str, ...] = (),
    tokens: Sequence[str] | None = None,
    bos: int | None = None,
) -> list[Path]:
    """Write the Llama or Qwen2 of a folder as a GGUF file, or as `split` files named as llama.cpp names them.

    `architecture` is what the file says it holds, where that is not the truth; `rope_scaling` what it says of its
    position embeddings; `without` are tensors that it lacks; `tokens` the vocabulary of a SentencePiece
    tokenizer without merges, which is written in place of the folder's; `bos` the token that begins a text,
    in place of the folder's too. Returns the files.
    """
    import gguf

    config = json.loads((folder / "config.json").read_text())
    tensors = {name: values for name, values in _tensors(folder, config).items() if name not in without}
    file_type = gguf.LlamaFileType["ALL_F32" if quantization == "F32" else f"MOSTLY_{quantization}"]
    paths = _paths(target, split)
    shares = [list(tensors)[number::split] for number in range(split)]
    for number, (path, names) in enumerate(zip(paths, shares, strict=True)):
        writer = gguf.GGUFWriter(path, architecture or config["model_type"])
        if split > 1:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", split)
            writer.add_int32("split.tensors.count", len(tensors))
        if number == 0:
            _describe(writer, config, file_type)
            if rope_scaling is not None:
                writer.add_string(f"{config['model_type']}.rope.scaling.type", rope_scaling)
            if tokens is not None:
                _add_sentencepiece(writer, tokens)
            elif with_tokenizer:
                _add_tokenizer(writer, folder, {} if bos is None else {"bos_token": bos})
        for name in names:
            _add_tensor(writer, name, tensors[name], quantization)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def _paths(target: Path, split: int) -> list[Path]:
    if split == 1:
        return [target]
    return [target.with_name(f"{target.stem}-{number + 1:05}-of-{split:05}.gguf") for number in range(split)]


def _tensors(folder: Path, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights in float32 under the names that llama.cpp gives them."""
    import gguf

    kind = config["model_type"]
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    found = {}
    for name, values in load_file(folder / "model.safetensors").items():
        stem, _, end = name.rpartition(".")
        if kind == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = config["num_attention_heads" if stem.endswith("q_proj") else "num_key_value_heads"]
            halves = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        found[f"{names.get_name(stem)}.{end}"] = np.ascontiguousarray(values)
    if config["rope_parameters"]["rope_type"] == "llama3":
        found["rope_freqs.weight"] = np.array(_rope_factors(config), np.float32)
    return found


def _rope_factors(config: dict[str, Any]) -> list[float]:
    """What llama.cpp's converter makes of Llama 3's scaling."""
    rope, width = config["rope_parameters"], config["hidden_size"] // config["num_attention_heads"]
    factors = []
    for index in range(0, width, 2):
        turns = rope["original_max_position_embeddings"] / (2 * math.pi * rope["rope_theta"] ** (index / width))
        share = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        share = min(max(share, 0.0), 1.0)
        factors.append(1 / ((1 - share) / rope["factor"] + share))
    return factors


def _describe(writer: Any, config: dict[str, Any], file_type: int) -> None:
    heads = config["num_attention_heads"]
    writer.add_name("sample")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(file_type)


def _add_tokenizer(writer: Any, folder: Path, special: Mapping[str, int]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids = tokenizer["model"]["vocab"] | added
    tokens = sorted(ids, key=lambda token: ids[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if token in added else _NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    for name, add in (("bos_token", writer.add_bos_token_id), ("eos_token", writer.add_eos_token_id)):
        token = settings.get(name)
        if name in special or token in ids:
            add(special.get(name) or ids[token])
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text())


def _add_sentencepiece(writer: Any, tokens: Sequence[str]) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(tokens))
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([_NORMAL] * len(tokens))


def _add_tensor(writer: Any, name: str, values: np.ndarray, quantization: str) -> None:
    import gguf

    if quantization == "F32" or values.ndim == 1:
        writer.add_tensor(name, values.astype(np.float32))
    elif quantization == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType[quantization]
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
