"""Choosing the next token of one sequence from the model's logits."""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from modelyard.core.errors import OutputNotFinite
from modelyard.ml.generation.generation_request import Options
from modelyard.ml.inspect.meta_model import dtype_name

LEAST_TEMPERATURE = 1e-6
"""Below it, logits divided by it are beyond float32, and nothing but the likeliest token is left to draw."""


def generation_config(model: PreTrainedModel, max_length: int | None, max_new_tokens: int | None) -> GenerationConfig:
    """Return the model's own settings with greedy decoding: sampling is `TokenChooser`'s."""
    config = copy.deepcopy(model.generation_config)
    config.update(
        do_sample=False, temperature=None, top_k=None, top_p=None, num_beams=1, max_length=max_length,
        max_new_tokens=max_new_tokens, use_cache=True,
    )  # fmt: skip
    if config.pad_token_id is None:
        ends = config.eos_token_id
        config.pad_token_id = ends[0] if isinstance(ends, list) else ends
    return config


def end_tokens(model: PreTrainedModel) -> frozenset[int]:
    """Return the tokens that end a sequence."""
    ends = model.generation_config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def own_processors(model: PreTrainedModel, prompt_tokens: int, max_new_tokens: int) -> LogitsProcessorList:
    """Return what the model's generation settings change logits with: a repetition penalty, tokens that never come."""
    config = generation_config(model, prompt_tokens + max_new_tokens, None)
    # Private; `generate` is its only other caller.
    processors: LogitsProcessorList = model._get_logits_processor(
        config, input_ids_seq_length=prompt_tokens, device=model.device.type
    )
    return processors


class TokenChooser:
    """Chooses the tokens of one sequence: bias and penalties, then the likeliest or, with a temperature, a draw.

    `number` is the sequence's place in its request; each draws with a generator of its own, because torch's own is
    shared by all threads. `processors` run before everything else.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        name: str,
        options: Options,
        number: int = 0,
        processors: Sequence[Any] = (),
    ) -> None:
        self._name, self._dtype = name, dtype_name(model.dtype)
        self._options = options
        self._processors = LogitsProcessorList(processors)
        self._warpers = _warpers(options, model.generation_config) if options.temperature >= LEAST_TEMPERATURE else None
        self._generator = torch.Generator()
        if options.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(_seed(options.seed, number))
        self._shift: torch.Tensor | None = None
        self._seen: set[int] = set()

    @property
    def is_plain(self) -> bool:
        """Return whether it always takes the likeliest token of unchanged logits."""
        return self._warpers is None and not self._processors and not self._shifts

    def choose(self, logits: torch.Tensor, ids: Sequence[int]) -> int:
        """Return the next token. `logits` has shape [vocabulary]; `ids` are all before. Raises OutputNotFinite."""
        scores = logits[None].float()
        if self._processors:
            scores = self._processors(torch.tensor([ids], device=logits.device), scores)
        self.require_finite(bool(scores.amax(-1).isfinite().all()))
        if self._shifts:
            scores = scores + self._shift_for(scores)
        if self._warpers is None:
            token = int(scores.argmax(-1))
        else:
            scores = self._warpers(None, scores)
            token = int(torch.multinomial(scores.softmax(-1).cpu(), 1, generator=self._generator))
        if self._shifts:
            self._note(token)
        return token

    def require_finite(self, is_finite: bool) -> None:
        """Raise OutputNotFinite where the largest logit is not finite; minus infinity alone is a mask."""
        if not is_finite:
            raise OutputNotFinite(f"The output of {self._name} is not finite in {self._dtype}.")

    @property
    def _shifts(self) -> bool:
        options = self._options
        return bool(options.logit_bias or options.presence_penalty or options.frequency_penalty)

    def _shift_for(self, scores: torch.Tensor) -> torch.Tensor:
        if self._shift is None:
            self._shift = torch.zeros_like(scores)
            for token, bias in self._options.logit_bias.items():
                self._shift[0, token] += bias
        return self._shift

    def _note(self, token: int) -> None:
        assert self._shift is not None  # noqa: S101 - a token was chosen with it
        first = 0.0 if token in self._seen else self._options.presence_penalty
        self._shift[0, token] -= first + self._options.frequency_penalty
        self._seen.add(token)


def _warpers(options: Options, config: GenerationConfig) -> LogitsProcessorList:
    """Temperature, then the nucleus that was asked for, or the model's own top-k and top-p."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(options.temperature))])
    top_k, top_p = (config.top_k, config.top_p) if options.top_p is None else (None, options.top_p)
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        warpers.append(TopPLogitsWarper(float(top_p)))
    return warpers


def _seed(seed: int, number: int) -> int:
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8]) >> 1
