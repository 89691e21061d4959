"""Sizes in a `config.json` that no model has: they are refused before anything is built from them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_LAYERS = 10_000
MAX_EXPERTS = 100_000
MAX_SIZE = 10**9
"""Of a width, a number of heads or a vocabulary."""
MAX_PARAMETERS = 10**13

MARGIN_FACTOR = 2
MARGIN_PARAMETERS = 50_000_000
"""A configuration may describe this many times what the weight files hold, and this much more: tied weights are stored
once, and parts that are left out of the files are small."""

_LAYERS = re.compile(r"(?:\w+_)?layers|n_layer|depth|(?:num|n)_(?:\w+_)?blocks|num_hidden_groups")
_EXPERTS = re.compile(r"(?:num|n|moe_num)_(?:\w+_)?experts")
_SIZES = re.compile(
    r"hidden_size|d_model|n_embd|n_embed|dim|model_dim|emb_dim|(?:\w+_)?vocab_size|(?:\w+_)?intermediate_size|n_inner"
    r"|d_ff|\w*ffn_dim|ffn_hidden_size|hidden_dim|head_dim|d_kv|kv_channels|(?:num|n)_(?:\w+_)?heads|n_head|n_head_kv"
    r"|decoder_attention_heads|encoder_attention_heads|num_codebooks|state_size|num_channels"
)
_MAX_DEPTH = 100


def absurd_size(config: Mapping[str, Any]) -> str | None:
    """Return the first size that no model has, as a clause that names key and value; None where all are possible.

    Sections are looked through, too. Texts and nulls are left to transformers, which refuses them where they matter.
    """
    for key, value, prefix in _numbers(config, "", 0):
        limit = _limit(key)
        if limit is None:
            continue
        if isinstance(value, bool):
            return f"{prefix}{key} is {str(value).lower()}, not a number"
        if value < 0:
            return f"{prefix}{key} is {_shown(value)}, less than 0"
        if value > limit:
            return f"{prefix}{key} is {_shown(value)}, more than any model has ({limit:,} at most)"
    return None


def main_sizes(config: Mapping[str, Any]) -> str:
    """Return the keys and values that a model's size follows from, for a message."""
    found: dict[str, str] = {}
    for key, value, prefix in _numbers(config, "", 0):
        if _limit(key) is not None and not isinstance(value, bool) and value > 1:
            found.setdefault(f"{prefix}{key}", _shown(value))
    return ", ".join(f"{key} {value}" for key, value in list(found.items())[:8]) or "no sizes"


def parameter_limit(held: int | None) -> int:
    """Return how many parameters a configuration may describe beside weight files that hold `held`; None: no files."""
    return MAX_PARAMETERS if not held else min(MARGIN_FACTOR * held + MARGIN_PARAMETERS, MAX_PARAMETERS)


def _limit(key: str) -> int | None:
    if _EXPERTS.fullmatch(key):
        return MAX_EXPERTS
    if _LAYERS.fullmatch(key):
        return MAX_LAYERS
    return MAX_SIZE if _SIZES.fullmatch(key) else None


def _numbers(config: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, int | float, str]]:
    for key, value in config.items():
        if isinstance(value, bool | int | float):
            yield key, value, prefix
        elif isinstance(value, dict) and depth < _MAX_DEPTH:
            yield from _numbers(value, f"{prefix}{key}.", depth + 1)


def _shown(value: int | float) -> str:
    return str(value) if abs(value) < 10**30 else f"a number of {len(str(abs(value)))} digits"
