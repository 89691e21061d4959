"""The sizes of a language model, whatever its config calls them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelyard.core.model_types import WITHOUT_ATTENTION

_HEADS = ("num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "kv_n_heads", "multi_query_group_num")
_HEAD_DIM = ("qk_head_dim", "head_dim", "attention_head_dim", "kv_channels", "d_kv")
_MLP = (
    "intermediate_size",
    "decoder_ffn_dim",
    "ffn_dim",
    "n_inner",
    "ffn_hidden_size",
    "dim_ff",
    "dff",
    "d_ff",
    "d_inner",
)
_CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "n_ctx",
    "max_target_positions",
)


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the text model; `None` where the architecture has no such thing (heads of a state-space model)."""

    hidden_size: int | None
    num_layers: int | None
    num_attention_heads: int | None
    num_key_value_heads: int | None
    head_dim: int | None
    intermediate_size: int | None
    vocab_size: int | None
    max_position_embeddings: int | None


def read_dimensions(config: Any) -> Dimensions:
    """Dimensions of a transformers config object; of its text part where it has several."""
    text = config.get_text_config(decoder=True)
    hidden = _first(text, ("hidden_size", "d_model", "n_embd"))
    heads = kv_heads = head_dim = None
    if text.model_type not in WITHOUT_ATTENTION:
        heads = _first(text, _HEADS)
        kv_heads = _kv_heads(text, heads)
        head_dim = _head_dim(text)
        if head_dim is None and hidden and heads:
            head_dim = hidden // heads
    return Dimensions(
        hidden_size=hidden,
        num_layers=_first(text, ("num_hidden_layers", "n_layer", "n_layers", "num_layers")),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=_first(text, _MLP),
        vocab_size=_first(text, ("vocab_size",)),
        max_position_embeddings=context_length(config),
    )


def context_length(config: Any) -> int | None:
    """The longest sequence, in tokens, that the config claims; `None` where it claims no limit."""
    return _first(config.get_text_config(decoder=True), _CONTEXT)


def _kv_heads(text: Any, heads: int | None) -> int | None:
    if getattr(text, "multi_query", False) and not getattr(text, "new_decoder_architecture", False):
        return 1
    return _first(text, _KV_HEADS) or heads


def _head_dim(text: Any) -> int | None:
    # Latent attention splits a query head into a rotary and a plain part; head_dim then names only one of them.
    plain, rotary = (_first(text, (name,)) for name in ("qk_nope_head_dim", "qk_rope_head_dim"))
    if plain and rotary:
        return plain + rotary
    return _first(text, _HEAD_DIM)


def _first(config: Any, names: Iterable[str]) -> int | None:
    for name in names:
        value = _read(config, name)
        if type(value) is int and value > 0:
            found: int = value
            return found
        if isinstance(value, (list, tuple)) and value and type(value[0]) is int:
            largest: int = max(value)  # one value per layer
            return largest
    return None


def _read(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except RuntimeError:  # per-layer configs refuse a global answer to a question that has several
        layers = [getattr(layer, name, None) for layer in config.per_layer_config]
        return [value for value in layers if type(value) is int]
