"""Log-probabilities: those of the model's unchanged logits, in float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

LEAST = -9999.0
"""Instead of minus infinity, which JSON has no word for."""

_ROWS = 64


@dataclass(frozen=True)
class Likely:
    """The log-probability of the token that came, and the likeliest tokens with theirs, best first."""

    logprob: float
    top: list[tuple[int, float]]


def read_likely(logits: torch.Tensor, ids: Sequence[int], top: int) -> list[Likely]:
    """Return what `logits` [positions, vocabulary] say of `ids`, the token that came after each position."""
    found: list[Likely] = []
    for start in range(0, len(ids), _ROWS):  # a float32 copy of many rows would be large
        some = ids[start : start + _ROWS]
        values = logits[start : start + len(some)].float().log_softmax(-1).clamp(min=LEAST)
        chosen = values.gather(-1, torch.tensor(some, device=values.device)[:, None])[:, 0].tolist()
        best = values.topk(min(top, values.shape[-1]), -1)
        found += [
            Likely(logprob, list(zip(ids_, values_, strict=True)))
            for logprob, ids_, values_ in zip(chosen, best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    return found
