"""Reading a prompt, piece by piece, before its continuations are written."""

import inspect
from collections.abc import Hashable
from collections.abc import Sequence as SequenceOf
from functools import cache
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from modelyard.ml.generation.batch_cache import BatchCache
from modelyard.ml.generation.logprobs import read_likely
from modelyard.ml.generation.sequence import Sequence
from modelyard.ml.loading import devices

PIECE_TOKENS = 512
"""Read at once, of one prompt or of several; then the others' next tokens are written."""

_LOGIT_TOKENS = 128
"""Read at once where the logits of every token are wanted: a large vocabulary's take a megabyte each."""


def last_logits_only(model: PreTrainedModel) -> dict[str, int]:
    """Return the argument that keeps a model from computing logits which nobody reads, where it takes one."""
    return _last_logits_only(cast(Hashable, type(model)))


@cache
def _last_logits_only(cls: Any) -> dict[str, int]:
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(cls.forward).parameters else {}


class Prefill:
    """The prompt of sequences that begin alike, read into a cache of one row."""

    def __init__(self, model: PreTrainedModel, group: SequenceOf[Sequence]) -> None:
        self.group = group
        self.cache = BatchCache(model)
        self._ids = group[0].ids
        # Of sequences that had to give up their cache, the prompt's are known already.
        self._notes = group[0].prompt_logprobs and not group[0].prompt_likely and not group[0].tokens

    @property
    def next_tokens(self) -> int:
        """Return how many tokens the next piece has."""
        return min(len(self._ids) - self.cache.length, _LOGIT_TOKENS if self._notes else PIECE_TOKENS)

    def read_piece(self, model: PreTrainedModel) -> torch.Tensor | None:
        """Read the next piece; return the logits [vocabulary] after the last token, None while there are more."""
        start = self.cache.length
        piece = self._ids[start : start + self.next_tokens]
        end, device = start + len(piece), devices.input_device(model)
        positions = torch.arange(start, end, device=device)[None]
        if (steering := self.group[0].steering) is not None:
            steering.at(positions, [len(self.group[0].prompt)])
        output = model(
            input_ids=torch.tensor([piece], device=device),
            attention_mask=torch.ones((1, end), dtype=torch.long, device=device),
            position_ids=positions,
            past_key_values=self.cache.states,
            use_cache=True,
            **({} if self._notes else last_logits_only(model)),
        )
        if self._notes:
            after = self._ids[start + 1 : end + 1]
            for sequence in self.group:
                sequence.prompt_likely += read_likely(output.logits[0], after, sequence.logprobs or 0)
        last: torch.Tensor = output.logits[0, -1]
        return last if end == len(self._ids) else None
