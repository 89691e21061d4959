"""Text that a run keeps back, and how well an SAE reconstructs what the model puts out on it."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

KEPT_BACK_EVERY = 20
"""Of so many rows of the data set, the last one is not trained on."""


@dataclass(frozen=True)
class Explained:
    """The share of variance that is explained; None where it is no number.

    `pooled` divides the squared errors of all tokens by the variance of all tokens, so that a few tokens of large norm
    decide it. `per_token` is the mean of what is explained of each token.
    """

    pooled: float | None = None
    per_token: float | None = None


def trained_texts(texts: Callable[[], Iterable[str]]) -> Callable[[], Iterator[str]]:
    """Return the rows to train on."""
    return lambda: (text for number, text in enumerate(texts(), 1) if number % KEPT_BACK_EVERY)


def kept_back_texts(texts: Callable[[], Iterable[str]]) -> Callable[[], Iterator[str]]:
    """Return the rows that are kept back."""
    return lambda: (text for number, text in enumerate(texts(), 1) if not number % KEPT_BACK_EVERY)


@torch.no_grad()
def explained(sae_in: torch.Tensor, sae_out: torch.Tensor) -> Explained:
    """Compare activations with their reconstructions, both [tokens, width]."""
    wanted = sae_in.float()
    error = (sae_out.float() - wanted).pow(2).sum(-1)
    variance = (wanted - wanted.mean(0)).pow(2).sum(-1)
    return Explained(_finite(1 - error.mean() / variance.mean()), _finite((1 - error / variance).mean()))


@torch.no_grad()
def explained_by(sae: Any, scaled: torch.Tensor, batch_tokens: int) -> Explained:
    """Let a training SAE reconstruct activations [tokens, width], scaled as it is trained on them, batch by batch."""
    was_training = sae.training
    sae.eval()
    try:
        rebuilt = torch.cat(
            [sae(batch.to(sae.device)).to(scaled.device) for batch in torch.split(scaled, batch_tokens)]
        )
    finally:
        sae.train(was_training)
    return explained(scaled, rebuilt)


def _finite(value: torch.Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
