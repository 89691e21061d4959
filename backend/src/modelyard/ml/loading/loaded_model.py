"""A model in memory, and what is told of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from transformers import PreTrainedModel

from modelyard.core.errors import NoTokenizer, NotReady
from modelyard.ml.generation.batch_cache import can_batch
from modelyard.ml.generation.batching import Batcher
from modelyard.ml.generation.fair_lock import FairLock, turn
from modelyard.ml.loading.adapters import Adapters
from modelyard.ml.loading.generation_config import read_stop_strings
from modelyard.ml.loading.load_spec import ModelKey
from modelyard.ml.quantize.quantization import measured_bytes
from modelyard.ml.untrusted import Tokenizer


class LoadedModel:
    """A model in memory, and its adapters. `lock` is held by whoever runs it, for generations by `batcher`.

    Its tokenizer is in a process of its own, which begins to read it now; nothing here waits for that.
    """

    def __init__(self, key: ModelKey, model: PreTrainedModel, folder: Path, load_seconds: float) -> None:
        self.key = key
        self.load_seconds = load_seconds
        self.measured_bytes = measured_bytes(model)
        self.lock = FairLock()
        self.adapters = Adapters(model, key.model_id)
        self.batcher = Batcher(self)
        self.stop_strings = read_stop_strings(folder)
        self._model: PreTrainedModel | None = model
        self._tokenizer: Tokenizer | None = None
        self._no_tokenizer: NoTokenizer | None = None
        try:
            self._tokenizer = Tokenizer(folder, key.model_id)
            self._tokenizer.start()
        except NoTokenizer as error:
            self._no_tokenizer = error.with_traceback(None)

    @property
    def model(self) -> PreTrainedModel:
        """Raises NotReady once the model has been unloaded."""
        if self._model is None:
            raise NotReady(f"{self.key.model_id} has been unloaded.", hint="Load it again.")
        return self._model

    @cached_property
    def can_batch(self) -> bool:
        """Whether its sequences can share a batch; found out once, which takes a millisecond."""
        return can_batch(self.model)

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises NoTokenizer where there are no files of one."""
        if self._no_tokenizer is not None:
            raise NoTokenizer(self._no_tokenizer.message, hint=self._no_tokenizer.hint)
        if self._tokenizer is None:
            raise NotReady(f"{self.key.model_id} has been unloaded.", hint="Load it again.")
        return self._tokenizer

    @contextmanager
    def turn(self, should_stop: Callable[[], bool], adapter: str | None = None) -> Iterator[bool]:
        """Hold the lock and run with an adapter or none; gives False where `should_stop` said so before."""
        with turn(self.lock, should_stop) as is_ours:
            if is_ours:
                self.adapters.use(adapter)
            yield is_ours

    def drop(self) -> None:
        """Let go of the weights, whoever still holds this object."""
        self._model = None
        self.adapters.drop()
        tokenizer, self._tokenizer = self._tokenizer, None
        if tokenizer is not None:
            tokenizer.close()


@dataclass(frozen=True)
class Unloaded:
    """What an unload gave back.

    `freed_bytes` is how much less the process holds now, `held_before_bytes` what the model's storages held. Of these,
    `mapped_bytes` were mapped from files and not in memory, so they could not come back.
    """

    key: ModelKey
    freed_bytes: int
    held_before_bytes: int
    mapped_bytes: int


@dataclass(frozen=True)
class LoadedInfo:
    """A loaded model as `GET /models/loaded` shows it. `expires_at` is None while it is used or pinned."""

    key: ModelKey
    measured_bytes: int
    load_seconds: float
    in_use: int
    pinned: bool
    expires_at: datetime | None
    last_unload: Unloaded | None

    def plus(self, other: "LoadedInfo") -> "LoadedInfo":
        """Return what is true of an adapter that is beside two models."""
        return replace(
            self, measured_bytes=self.measured_bytes + other.measured_bytes, in_use=self.in_use + other.in_use
        )
