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
            Likely(logprob, _chosen_first(token, logprob, list(zip(ids_, values_, strict=True))))
            for token, logprob, ids_, values_ in zip(
                some, chosen, best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]
    return found


def _chosen_first(token: int, logprob: float, top: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the likeliest with the token that came before others that are equally likely, as often in float32."""
    if not top or logprob < top[-1][1]:
        return top
    others = [each for each in top if each[0] != token]
    return sorted([(token, logprob), *others], key=lambda each: -each[1])[: len(top)]
