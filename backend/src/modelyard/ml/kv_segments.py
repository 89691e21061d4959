"""Piecewise-linear size of a KV cache, as the contract has it. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KvSegment:
    """From `from_tokens` on, one sequence's cache holds `bytes_at_from` and grows by `bytes_per_token`."""

    from_tokens: int
    bytes_at_from: int
    bytes_per_token: int


def kv_cache_bytes(segments: Sequence[Mapping[str, Any]], *, tokens: int, batch: int = 1) -> int:
    """Bytes of the cache of `batch` sequences of `tokens` tokens, from segments in their JSON form."""
    last = [segment for segment in segments if segment["from_tokens"] <= tokens][-1]
    size: int = last["bytes_at_from"] + (tokens - last["from_tokens"]) * last["bytes_per_token"]
    return size * batch
