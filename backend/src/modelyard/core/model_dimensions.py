"""The sizes of a language model, whatever its configuration calls them.

The spellings are those of transformers' own `attribute_map`s. Nothing is guessed: what is not written down is None,
unless the model's own code in transformers says what follows then.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from modelyard.core.model_types import WITHOUT_ATTENTION

Read = Callable[[str], Any]

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
        "decoder_ffn_dim",
        "ffn_dim",
        "n_inner",
        "d_ff",
        "ffn_hidden_size",
        "encoder_ffn_dim",
        "hidden_dim",
        "dim_ff",
        "dff",
        "d_inner",
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


def read_dimensions(read: Read) -> dict[str, int | None]:
    """Return the sizes of a language model by their names here; None is what is not written, or not there.

    `read` returns the value of a field of its configuration, None where there is none.
    """
    dimensions = {name: _first_int(read, spellings) for name, spellings in _SPELLINGS.items()}
    for name, (section, spelling) in _SECTIONS.items():
        part = read(section)
        if dimensions[name] is None and part is not None:
            dimensions[name] = _first_int(
                part.get if isinstance(part, dict) else partial(_attribute, part), (spelling,)
            )
    layer_types = read("layers_block_type")
    if dimensions["num_layers"] is None and isinstance(layer_types, list) and layer_types:
        dimensions["num_layers"] = len(layer_types)
    if read("model_type") in WITHOUT_ATTENTION:
        return dimensions | {"num_attention_heads": None, "num_key_value_heads": None, "head_dim": None}
    hidden, heads = dimensions["hidden_size"], dimensions["num_attention_heads"]
    if read("model_type") in _WITH_MLP_RATIO and hidden and _is_silent(read, "intermediate_size"):
        width = _MLP_RATIO * hidden
        dimensions["intermediate_size"] = width if width <= _MAX_INT else None
    if read("multi_query") is True and not read("new_decoder_architecture"):
        # Falcon's and GPT-BigCode's switch for one shared head; Falcon writes another number beside it.
        dimensions["num_key_value_heads"] = 1
    elif _is_silent(read, "num_key_value_heads"):
        dimensions["num_key_value_heads"] = dimensions["num_key_value_heads"] or heads
    latent = [_first_int(read, (name,)) for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
    if latent[0] and latent[1]:
        # Latent attention splits a query head into a plain and a rotary part; head_dim then names only one of them.
        whole = latent[0] + latent[1]
        dimensions["head_dim"] = whole if whole <= _MAX_INT else None
    elif _is_silent(read, "head_dim") and hidden and heads and hidden % heads == 0:
        dimensions["head_dim"] = hidden // heads
    return dimensions


def unusable_sizes(read: Read) -> dict[str, Any]:
    """Return the fields, with their values, that should tell a size and hold no number, where no other field tells it.

    Numbers for each layer, as OpenELM has, or for each part, as LXMERT has, are no mistake, though no size is read from
    them.
    """
    unusable: dict[str, Any] = {}
    for spellings in _SPELLINGS.values():
        if _first_int(read, spellings) is None:
            unusable |= {name: read(name) for name in spellings if not _may_tell_size(read(name))}
    return unusable


def _may_tell_size(value: Any) -> bool:
    values = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    return all(each is None or (isinstance(each, int) and not isinstance(each, bool)) for each in values)


def names_layers(read: Read) -> bool:
    """Return whether a configuration says how many layers there are; one of several parts need not."""
    return _first_int(read, _SPELLINGS["num_layers"]) is not None


def _is_silent(read: Read, name: str) -> bool:
    """Nothing is written about it; a number for each layer, as OpenELM has, is something."""
    return all(read(spelling) is None for spelling in _SPELLINGS[name])


def _first_int(read: Read, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = read(name)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]  # one for each layer
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_INT:
            return value
    return None


def _attribute(section: object, name: str) -> Any:
    return getattr(section, name, None)
