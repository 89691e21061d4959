"""What a model's `config.json` says by itself, read without torch or transformers.

Configurations spell the same fact in many ways; the spellings here are those of transformers' own `attribute_map`s.
A fact that is not written down is None, unless the model's own code in transformers says what follows then: nothing is
guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.core.model_types import WITHOUT_ATTENTION

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "emb_dim", "model_dim"),
    "num_layers": (
        "num_hidden_layers",
        "n_layer",
        "n_layers",
        "num_layers",
        "decoder_layers",
        "num_decoder_layers",
        "encoder_layers",
    ),
    "num_attention_heads": (
        "num_attention_heads",
        "n_head",
        "n_heads",
        "num_heads",
        "attention_heads",
        "decoder_attention_heads",
        "num_decoder_attention_heads",
        "encoder_attention_heads",
    ),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "n_kv_heads"),
    "head_dim": ("head_dim", "d_kv", "attention_head_dim", "kv_channels", "dim_head"),
    "intermediate_size": (
        "intermediate_size",
        "ffn_dim",
        "n_inner",
        "d_ff",
        "ffn_hidden_size",
        "decoder_ffn_dim",
        "encoder_ffn_dim",
        "hidden_dim",
    ),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "max_position_embeddings": (
        "max_position_embeddings",
        "n_positions",
        "n_ctx",
        "max_seq_len",
        "seq_length",
        "max_sequence_length",
        "max_target_positions",
        "model_max_length",
    ),
}
# Sections that MPT and DBRX put a part of their dimensions in.
_SECTIONS: dict[str, tuple[str, str]] = {
    "num_key_value_heads": ("attn_config", "kv_n_heads"),
    "intermediate_size": ("ffn_config", "ffn_hidden_size"),
}
# Where no width of the MLP is written, their own code takes this many times the hidden size.
_MLP_RATIO = 4
_WITH_MLP_RATIO = ("codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gptj")
_MAX_INT = 2**31 - 1
_MAX_NAME = 100
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
_DTYPES = {"float32", "bfloat16", "float16"}


@dataclass(frozen=True)
class ConfigFacts:
    architecture: str | None
    model_type: str | None
    dtype: str | None
    dimensions: dict[str, int | None]
    quantization_method: str | None
    auto_map: bool


def read_config(config: Mapping[str, Any]) -> ConfigFacts:
    """Facts of a configuration; the text part where a model has several."""
    architectures = config.get("architectures")
    text = text_part(config)
    return ConfigFacts(
        architecture=_string(architectures[0]) if isinstance(architectures, list) and architectures else None,
        model_type=_string(config.get("model_type")),
        dtype=_dtype(text) or _dtype(config),
        dimensions=_dimensions(text),
        quantization_method=_quantization_method(config) or _quantization_method(text),
        auto_map=isinstance(config.get("auto_map"), dict),
    )


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the language model, where a model has other parts too."""
    if _first_int(config, _SPELLINGS["num_layers"]) is not None:
        return config
    for name in _TEXT_PARTS:
        part = config.get(name)
        if isinstance(part, dict):
            return text_part(part)
    return config


def _dimensions(text: Mapping[str, Any]) -> dict[str, int | None]:
    dimensions = {name: _first_int(text, spellings) for name, spellings in _SPELLINGS.items()}
    for name, (section, spelling) in _SECTIONS.items():
        part = text.get(section)
        if dimensions[name] is None and isinstance(part, dict):
            dimensions[name] = _first_int(part, (spelling,))
    layer_types = text.get("layers_block_type")
    if dimensions["num_layers"] is None and isinstance(layer_types, list) and layer_types:
        dimensions["num_layers"] = len(layer_types)
    if text.get("model_type") in WITHOUT_ATTENTION:
        return dimensions | {"num_attention_heads": None, "num_key_value_heads": None, "head_dim": None}
    hidden, heads = dimensions["hidden_size"], dimensions["num_attention_heads"]
    if text.get("model_type") in _WITH_MLP_RATIO and hidden and _is_silent(text, "intermediate_size"):
        width = _MLP_RATIO * hidden
        dimensions["intermediate_size"] = width if width <= _MAX_INT else None
    if text.get("multi_query") is True and not text.get("new_decoder_architecture"):
        # Falcon's and GPT-BigCode's switch for one shared head; Falcon writes another number beside it.
        dimensions["num_key_value_heads"] = 1
    elif _is_silent(text, "num_key_value_heads"):
        dimensions["num_key_value_heads"] = dimensions["num_key_value_heads"] or heads
    latent = [_first_int(text, (name,)) for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
    if latent[0] and latent[1]:
        # Latent attention splits a query head into a plain and a rotary part; head_dim then names only one of them.
        whole = latent[0] + latent[1]
        dimensions["head_dim"] = whole if whole <= _MAX_INT else None
    elif _is_silent(text, "head_dim") and hidden and heads and hidden % heads == 0:
        dimensions["head_dim"] = hidden // heads
    return dimensions


def _is_silent(config: Mapping[str, Any], name: str) -> bool:
    """Nothing is written about it; a number for each layer, as OpenELM has, is something."""
    return all(config.get(spelling) is None for spelling in _SPELLINGS[name])


def _first_int(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_INT:
            return value
    return None


def _dtype(config: Mapping[str, Any]) -> str | None:
    value = config.get("dtype") or config.get("torch_dtype")
    value = value.removeprefix("torch.") if isinstance(value, str) else None
    return value if value in _DTYPES else None


def _quantization_method(config: Mapping[str, Any]) -> str | None:
    section = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(section, dict):
        return None
    method = section.get("quant_method")
    if method is None and (section.get("load_in_4bit") or section.get("load_in_8bit")):
        return "bitsandbytes"
    return _string(method) or "unknown"


def _string(value: Any) -> str | None:
    return value[:_MAX_NAME] if isinstance(value, str) else None
