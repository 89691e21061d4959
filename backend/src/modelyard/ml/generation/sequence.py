"""One continuation that is being written: what its request and the model's runs both know of it."""

import threading
from collections.abc import Sequence as Ids
from typing import TYPE_CHECKING

from modelyard.ml.generation.generation_request import FinishReason
from modelyard.ml.generation.logprobs import Likely
from modelyard.ml.generation.sampling import TokenChooser

if TYPE_CHECKING:
    from modelyard.ml.hooks.interventions import Steering


class Sequence:
    """A prompt and the tokens after it. Whoever runs the model adds tokens; the request reads them from another thread.

    `changed`, one of each request, is set with every change. `logprobs` is the number of likeliest tokens to note,
    `prompt_logprobs` whether for the prompt's tokens too. The model runs with `adapter`, or without one, and is
    changed by `steering`, which all sequences that run together have in common. Once `unwanted`, it ends at the next
    token.
    """

    def __init__(
        self,
        prompt: Ids[int],
        max_new_tokens: int,
        chooser: TokenChooser,
        ends: frozenset[int],
        changed: threading.Event,
        *,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        adapter: str | None = None,
        steering: "Steering | None" = None,
    ) -> None:
        self.prompt = list(prompt)
        self.max_new_tokens = max_new_tokens
        self.chooser = chooser
        self.logprobs = logprobs
        self.prompt_logprobs = prompt_logprobs
        self.adapter = adapter
        self.steering = steering
        self.tokens: list[int] = []
        self.likely: list[Likely] = []
        self.prompt_likely: list[Likely] = []
        self.turn_began_at = 0
        """How many tokens it had when it last got a row of the batch."""
        self.finish_reason: FinishReason | None = None
        self.error: Exception | None = None
        self.is_started = self.waits_for_memory = self.unwanted = False
        self.has_ended = threading.Event()
        self._ends = ends
        self._changed = changed

    @property
    def request(self) -> object:
        """Return what only the sequences of one request have in common."""
        return self._changed

    @property
    def ids(self) -> list[int]:
        """Return all tokens so far."""
        return self.prompt + self.tokens

    @property
    def tokens_left(self) -> int:
        """Return how many tokens may still come."""
        return self.max_new_tokens - len(self.tokens)

    @property
    def turn_tokens(self) -> int:
        """Return how many tokens it has written since it last got a row."""
        return len(self.tokens) - self.turn_began_at

    def start(self) -> None:
        """Note that its prompt is being read."""
        self.is_started = True
        self._changed.set()

    def note_waiting(self) -> None:
        """Note that it waits for the memory of others."""
        if not self.waits_for_memory:
            self.waits_for_memory = True
            self._changed.set()

    def add(self, token: int, likely: Likely | None) -> None:
        """Add a token; sets `finish_reason` where it is the last one."""
        if likely is not None:
            self.likely.append(likely)
        self.tokens.append(token)
        if token in self._ends:
            self.finish_reason = "stop"
        elif not self.tokens_left:
            self.finish_reason = "length"
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """Note that nothing comes any more. The model is no longer used for it."""
        self.error = error
        if self.finish_reason is None:
            self.finish_reason = "cancelled" if self.unwanted else "length"
        self.has_ended.set()
        self._changed.set()
