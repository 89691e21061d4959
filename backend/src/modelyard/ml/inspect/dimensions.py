"""The sizes of a language model, whatever its config calls them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from modelyard.core import model_dimensions


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
    """Return the dimensions of a transformers config object; of its text part where it has several."""
    text = config.get_text_config(decoder=True)
    return Dimensions(**model_dimensions.read_dimensions(partial(_read, text)))


def context_length(config: Any) -> int | None:
    """Return the longest sequence, in tokens, that the config claims; `None` where it claims no limit."""
    return read_dimensions(config).max_position_embeddings


def _read(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except RuntimeError:
        # Layers have values of their own; this is the one that the configuration names for all others.
        return vars(config).get(name)
