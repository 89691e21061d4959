"""Looking for what an SAE's features stand for: where in a text each is most active, and which tokens it promotes."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from modelyard.ml.sae import feature_file
from modelyard.ml.sae.feature_file import Effects, Feature, Passage
from modelyard.ml.sae.inference import LoadedSae
from modelyard.ml.untrusted.pieces import piece_bytes

if TYPE_CHECKING:
    from modelyard.ml.sae.reading import Reading, Report

BEFORE, WINDOW = 32, 48
"""A passage has so many tokens before its most active one, and in all."""
BINS = 64
EFFECTS = 10
"""Tokens that are promoted, and that are suppressed, for each feature."""
_ROWS = 8192
"""Of the output embedding that are compared at once."""
_EFFECT_BYTES = 200_000_000

BothEffects = tuple[list[Effects], list[Effects]]
"""For each feature the tokens that are promoted, and those that are suppressed."""


def build_features(
    loaded: LoadedSae,
    reading: "Reading",
    tokenizer: Any,
    final_norm: str | None,
    top: int,
    path: Path,
    report: "Report",
) -> dict[str, Any]:
    """Write the pages of all features into `path`, and return what `SaeFeaturesFacts` says of them. Raises DiskFull."""
    found = Tally(loaded.sae.cfg.d_sae, reading.context_size, top, reading.model.model.device)
    at_once = reading.at_once(loaded.sae.cfg.d_sae)
    with torch.no_grad():
        for number, batch in enumerate(torch.split(reading.contexts, at_once)):
            done = number * at_once * reading.context_size
            report({"phase": "reading_features", "done": done, "total": reading.tokens, "message": None})
            features = loaded.encode(reading.activations(batch))
            found.add(number * at_once, features, reading.counted(batch))
        report({"phase": "writing", "done": reading.tokens, "total": reading.tokens, "message": None})
        effects = token_effects(reading.model.model, final_norm, loaded.sae.W_dec)
    used = found.contexts()
    shown = {int(token) for context in used for token in reading.contexts[context]}
    shown |= {token for side in effects or () for each in side for token, _ in each}
    size = feature_file.write(
        path,
        found.features(reading.contexts, effects),
        ((context, reading.contexts[context].tolist()) for context in used),
        {token: piece_bytes(tokenizer, token).decode(errors="replace") for token in sorted(shown)},
    )
    return {
        "tokens": found.tokens,
        "top": top,
        "active_features": found.active,
        "final_norm": None if effects is None else final_norm,
        "size_bytes": size,
    }


class Tally:
    """Counts where features are active, batch by batch, and keeps each one's most active places, one of a context.

    Features of some architectures may be negative; they are ranked and counted by their magnitudes.
    """

    def __init__(self, d_sae: int, context_size: int, top: int, device: torch.device | str = "cpu") -> None:
        self._top, self._window = top, min(WINDOW, context_size)
        self.tokens = 0
        self._active = torch.zeros(d_sae, dtype=torch.long, device=device)
        self._bins = torch.zeros(d_sae, BINS, dtype=torch.long, device=device)
        self._end = torch.zeros(d_sae, device=device)
        self._best = torch.zeros(top, d_sae, device=device)
        self._context = torch.zeros(top, d_sae, dtype=torch.long, device=device)
        self._position = torch.zeros(top, d_sae, dtype=torch.long, device=device)
        self._values = torch.zeros(top, d_sae, self._window, device=device)

    def add(self, first: int, features: torch.Tensor, counted: torch.Tensor) -> None:
        """Take the activations [n, context, d_sae] of contexts from number `first` on; `counted` [n, context]."""
        features = features.masked_fill(~counted.to(features.device)[..., None], 0)
        self.tokens += int(counted.sum())
        sizes = features.abs()
        best, place = sizes.max(dim=1)
        self._count(sizes, best.amax(dim=0))
        self._keep_best(first, features, best, place)

    def _count(self, sizes: torch.Tensor, largest: torch.Tensor) -> None:
        """Count in bins, whose range is doubled, and their counts added up in pairs, until it holds the largest."""
        begins = (self._end == 0) & (largest > 0)
        self._end = torch.where(begins, largest, self._end)
        grows = largest > self._end
        if bool(grows.any()):
            times = torch.where(grows, torch.ceil(torch.log2(largest / self._end.clamp(min=1e-30))), 0.0)
            factor = torch.pow(2.0, times).long()
            merged = torch.zeros_like(self._bins)
            places = torch.arange(BINS, device=sizes.device)[None] // factor[:, None]
            self._bins = merged.scatter_add_(1, places, self._bins)
            self._end = self._end * factor
        active = sizes.nonzero(as_tuple=True)
        feature, size = active[-1], sizes[active]
        self._active += torch.bincount(feature, minlength=len(self._active))
        places = torch.clamp((size / self._end[feature] * BINS).ceil().long() - 1, 0, BINS - 1)
        self._bins += torch.bincount(feature * BINS + places, minlength=self._bins.numel()).view_as(self._bins)

    def _keep_best(self, first: int, features: torch.Tensor, best: torch.Tensor, place: torch.Tensor) -> None:
        contexts = torch.arange(first, first + len(features), device=features.device)[:, None].expand_as(place)
        self._best, order = torch.cat([self._best, best]).topk(self._top, dim=0)
        self._context = torch.cat([self._context, contexts]).gather(0, order)
        self._position = torch.cat([self._position, place]).gather(0, order)
        kept = order.clamp(max=self._top - 1)[..., None].expand(-1, -1, self._window)
        self._values = self._values.gather(0, kept)
        rank, feature = torch.nonzero((order >= self._top) & (self._best > 0), as_tuple=True)
        context = order[rank, feature] - self._top
        begin = self._begin(self._position[rank, feature], features.shape[1])
        tokens = begin[:, None] + torch.arange(self._window, device=features.device)
        self._values[rank, feature] = features[context[:, None], tokens, feature[:, None]].to(self._values.dtype)

    def _begin(self, position: torch.Tensor, context_size: int) -> torch.Tensor:
        return torch.clamp(position - BEFORE, 0, context_size - self._window)

    @property
    def active(self) -> int:
        """Return how many features were ever active."""
        return int((self._active > 0).sum())

    def contexts(self) -> list[int]:
        """Return the contexts that passages are from."""
        return sorted(set(self._context[self._best > 0].tolist()))

    def features(self, contexts: torch.Tensor, effects: BothEffects | None) -> Iterator[Feature]:
        """Yield the features in their order, with the tokens each promotes and suppresses."""
        density = (self._active.double() / max(1, self.tokens)).tolist()
        begins = self._begin(self._position, contexts.shape[1])
        best, context, position, begin = (
            each.T.cpu().numpy() for each in (self._best, self._context, self._position, begins)
        )
        values = self._values.transpose(0, 1).cpu().numpy()
        ends, bins = self._end.tolist(), self._bins.cpu().numpy()
        for index, share in enumerate(density):
            passages = [
                _passage(int(context[index, rank]), int(position[index, rank]), int(begin[index, rank]), row)
                for rank, row in enumerate(values[index])
                if best[index, rank] > 0
            ]
            counts = bins[index].tolist()
            while counts and not counts[-1]:
                counts.pop()
            yield Feature(
                index=index,
                density=share,
                maximum=float(best[index, 0]),
                top_token=int(contexts[passages[0].context, passages[0].position]) if passages else None,
                histogram_end=ends[index] * len(counts) / BINS,
                histogram=counts,
                promoted=None if effects is None else effects[0][index],
                suppressed=None if effects is None else effects[1][index],
                passages=passages,
            )


def _passage(context: int, position: int, begin: int, values: Any) -> Passage:
    active = values.nonzero()[0]
    return Passage(context, position, begin, len(values), active.tolist(), values[active].tolist())


@torch.no_grad()
def token_effects(model: Any, final_norm: str | None, decoder: torch.Tensor) -> BothEffects | None:
    """Return the tokens whose logits each decoder direction [d_sae, d_in] raises and lowers most.

    An effect is the direction times the final norm's weight times the token's row of the output embedding. Returns None
    for a model without one, or of another width.
    """
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if weight is None or not weight.is_floating_point() or weight.shape[-1] != decoder.shape[1]:
        return None
    directions = decoder.float().to(weight.device)
    if final_norm is not None:
        directions = _through_norm(model.get_submodule(final_norm), directions)
    promoted: list[Effects] = []
    suppressed: list[Effects] = []
    for part in torch.split(directions, max(1, _EFFECT_BYTES // (4 * weight.shape[0]))):
        effects = torch.cat([part @ rows.float().T for rows in torch.split(weight, _ROWS)], dim=1)
        for largest, into in ((True, promoted), (False, suppressed)):
            values, tokens = effects.topk(min(EFFECTS, effects.shape[1]), dim=1, largest=largest)
            into += [
                list(zip(ids, numbers, strict=True))
                for ids, numbers in zip(tokens.tolist(), values.tolist(), strict=True)
            ]
    return promoted, suppressed


def _through_norm(norm: nn.Module, directions: torch.Tensor) -> torch.Tensor:
    """Return directions as a final norm passes them on, but for its division by the token's own size.

    Its weight is read off what it does to vectors of size one, as some norms add one to what they store.
    """
    width, first = directions.shape[1], next(norm.parameters(), directions)

    def apply(vector: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = norm(vector[None, None].to(first))[0, 0]
        return passed.float().to(directions.device)

    signs = torch.tensor([1.0, -1.0]).repeat(math.ceil(width / 2))[:width].to(directions.device)
    nothing = apply(torch.zeros_like(signs))
    if torch.allclose(apply(torch.ones_like(signs)), nothing, atol=1e-3):  # the mean is taken off
        directions = directions - directions.mean(dim=1, keepdim=True)
    weight = (apply(signs) - nothing) * signs
    return directions * weight
