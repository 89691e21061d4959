"""Keys and values of several sequences that are written together, and which models can be run so."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Tokens that a cache has room for beyond those in it: a copy for every token would cost as much as the arithmetic."""

_NEEDED = frozenset({"input_ids", "attention_mask", "position_ids", "past_key_values"})
_BY_LENGTH = frozenset({"dynamic", "longrope"})
"""Kinds of RoPE that choose frequencies by the longest sequence of a batch."""


def can_batch(model: PreTrainedModel) -> bool:
    """Return whether a row of a batch with padding on its left is computed as it is alone.

    That holds for decoders whose only memory is the keys and values of every token (no recurrent state, no window),
    which are told every token's position, and which `generate` needs to tell nothing else.
    """
    config = model.config.get_text_config(decoder=True)
    layers = [] if model.config.is_encoder_decoder else DynamicCache(config=model.config).layers
    return (
        bool(layers)
        and all(type(layer) is DynamicLayer for layer in layers)
        and not getattr(model, "_is_stateful", False)
        and inspect.signature(type(model).forward).parameters.keys() >= _NEEDED
        and type(model).prepare_inputs_for_generation is GenerationMixin.prepare_inputs_for_generation
        and not _rope_types(getattr(config, "rope_parameters", None)) & _BY_LENGTH
    )


def _rope_types(parameters: Any) -> set[Any]:
    """Return the kinds of RoPE of all layers; some models have one per kind of layer."""
    if not isinstance(parameters, dict):
        return set()
    each = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {kind for some in each if isinstance(kind := some.get("rope_type"), str)}


class _RowsLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, [rows, heads, capacity, width], of which the first `length` tokens are there."""

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized: bool = False
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_unused: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one or more tokens of every row; return all keys and values."""
        end = self.length + key_states.shape[-2]
        if not self.is_initialized:
            self.keys, self.values = _empty(key_states, end), _empty(value_states, end)
            self.dtype, self.device = key_states.dtype, key_states.device
            self.is_initialized = True
        elif end > self.keys.shape[-2]:
            self.keys = _copy(self.keys[:, :, : self.length], end)
            self.values = _copy(self.values[:, :, : self.length], end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def join(self, other: "_RowsLayer", copies: int) -> None:
        """Add the row of `other` so many times; the shorter ones get zeros on their left."""
        length = max(self.length, other.length)
        self.keys = _joined(self.keys[:, :, : self.length], other.keys[:, :, : other.length], copies)
        self.values = _joined(self.values[:, :, : self.length], other.values[:, :, : other.length], copies)
        self.length = length

    def keep(self, rows: torch.Tensor, trim: int) -> None:
        """Leave only these rows, without the first `trim` tokens."""
        end = self.length
        self.keys = _copy(self.keys[rows, :, trim:end], end - trim)
        self.values = _copy(self.values[rows, :, trim:end], end - trim)
        self.length = end - trim


def _capacity(length: int) -> int:
    return length + _ROOM + length // 4


def _empty(like: torch.Tensor, length: int) -> torch.Tensor:
    rows, heads, _, width = like.shape
    return like.new_empty((rows, heads, _capacity(length), width))


def _copy(values: torch.Tensor, length: int) -> torch.Tensor:
    copied = _empty(values, length)
    copied[:, :, : values.shape[-2]] = values
    return copied


def _joined(ours: torch.Tensor, theirs: torch.Tensor, copies: int) -> torch.Tensor:
    rows, length = ours.shape[0], max(ours.shape[-2], theirs.shape[-2])
    joined = _empty(ours.new_empty((rows + copies, *ours.shape[1:])), length)
    joined[:, :, :length] = 0  # what a mask hides still is multiplied by nothing, and NaN times nothing is NaN
    joined[:rows, :, length - ours.shape[-2] : length] = ours
    joined[rows:, :, length - theirs.shape[-2] : length] = theirs
    return joined


class BatchCache:
    """The cache of a batch. Row i has `padding[i]` tokens on its left that are none."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.states = DynamicCache(config=model.config)
        self.states.layers = [_RowsLayer() for _ in self.states.layers]
        self.padding = [0]

    @property
    def length(self) -> int:
        """Return how many tokens a row has, padding counted."""
        return int(self._layers[0].length)

    @property
    def held_bytes(self) -> int:
        """Return what the cache takes now."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._layers if layer.is_initialized)

    @property
    def token_bytes(self) -> int:
        """Return what one token of one row takes."""
        rows = len(self.padding)
        return sum(
            (layer.keys[0, :, 0].numel() + layer.values[0, :, 0].numel()) * layer.keys.element_size()
            for layer in self._layers
            if layer.is_initialized and rows
        )

    def growth_bytes(self) -> int:
        """Return what the next token takes beyond what is held: nothing while there is room."""
        if self.length < self._layers[0].keys.shape[-2]:
            return 0
        return self.bytes_for(len(self.padding), self.length + 1) - self.held_bytes

    def bytes_for(self, rows: int, length: int) -> int:
        """Return what a cache of this model takes for so many rows and tokens."""
        return rows * _capacity(length) * self.token_bytes

    def join(self, other: "BatchCache", copies: int = 1) -> None:
        """Add the one row of another cache, so many times."""
        length = max(self.length, other.length)
        self.padding = [pad + length - self.length for pad in self.padding]
        self.padding += [length - other.length] * copies
        for layer, joining in zip(self._layers, other._layers, strict=True):
            layer.join(joining, copies)

    def repeat(self, copies: int) -> None:
        """Have the one row so many times."""
        self.padding *= copies
        for layer in self._layers:
            layer.keep(torch.zeros(copies, dtype=torch.long, device=layer.keys.device), 0)

    def keep(self, rows: Sequence[int]) -> None:
        """Leave only these rows."""
        trim = min(self.padding[row] for row in rows)
        self.padding = [self.padding[row] - trim for row in rows]
        for layer in self._layers:
            layer.keep(torch.tensor(rows, device=layer.keys.device), trim)

    def crop(self, length: int) -> None:
        """Forget the tokens from `length` on, which a pass that failed may have left in some layers."""
        for layer in self._layers:
            layer.length = min(layer.length, length)

    @property
    def _layers(self) -> list[_RowsLayer]:
        layers: list[_RowsLayer] = self.states.layers
        return layers
