"""Text from a loaded model, piece by piece, the same every time for the same request."""

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from modelyard.core.errors import ContextLengthExceeded, InvalidRequest, OutOfMemory, OutputNotFinite, no_language_head
from modelyard.ml.inspect import meta_model
from modelyard.ml.inspect.meta_model import dtype_name, first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.pretrained import read_config
from modelyard.ml.untrusted import Tokenizer, TokenizerStopped

TURN_SECONDS = 0.05
"""How often a generation that waits for another one asks whether it is still wanted."""


def require_language_head(folder: Path) -> None:
    """Raise UnsupportedArchitecture for a model that cannot generate, before it is loaded."""
    _require_language_head(meta_model.model_class(meta_model.load_config(read_config(folder))))


def _require_language_head(cls: type[PreTrainedModel]) -> None:
    if not cls.can_generate():
        raise no_language_head(cls.__name__)


@dataclass(frozen=True)
class Generated:
    """`tokens_per_second` counts new tokens from the start of the prompt's processing to the last token."""

    text: str
    prompt_tokens: int
    new_tokens: int
    tokens_per_second: float
    finish_reason: Literal["stop", "length", "cancelled"]


def generate(
    loaded: LoadedModel,
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, str]] | None = None,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    on_delta: Callable[[str], None] = lambda _delta: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_start: Callable[[], None] = lambda: None,
) -> Generated:
    """Continue `prompt`, or answer `messages` with the tokenizer's chat template.

    `on_delta` gets the text as it comes (the deltas together are the text); `should_stop` is asked once per token.
    Temperature 0 takes the likeliest token; above it, `seed` decides, with the model's own top-k and top-p. Waits for
    other generations of the same model, and asks `should_stop` meanwhile; `on_start` is called after that. Raises
    NoTokenizer, TemplateFailed, InvalidRequest, OutOfMemory, OutputNotFinite, and UnsupportedArchitecture for a model
    that cannot generate.
    """
    tokenizer, model = loaded.tokenizer, loaded.model
    _require_language_head(type(model))
    with turn(loaded.lock, should_stop) as is_ours:
        if not is_ours:
            return _NOTHING
        on_start()
        try:
            ids = _encode(tokenizer, prompt, messages, should_stop)
        except TokenizerStopped:
            return _NOTHING
        _require_known(ids, model)
        prompt_tokens = len(ids)
        budget = _new_tokens_left(model.config, prompt_tokens, max_new_tokens)
        config = copy.deepcopy(model.generation_config)
        processors = LogitsProcessorList([_Finite(loaded.key.model_id, dtype_name(model.dtype))])
        if temperature > 0:
            processors.append(_Sampler(temperature, seed, config.top_k, config.top_p))
        config.update(
            do_sample=False, temperature=None, top_k=None, top_p=None, num_beams=1, max_length=None,
            max_new_tokens=budget, use_cache=True,
        )  # fmt: skip
        if config.pad_token_id is None:
            ends = config.eos_token_id
            config.pad_token_id = ends[0] if isinstance(ends, list) else ends
        inputs = torch.tensor([ids], device=devices.input_device(model))
        stream = _TextStream(tokenizer, on_delta)
        stop = _Stop(should_stop)
        stopping = [stop, _StopStrings(stream, loaded.stop_strings)]
        started = time.monotonic()
        try:
            model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=config,
                logits_processor=processors,
                stopping_criteria=StoppingCriteriaList(stopping),
                streamer=stream,
            )
            refused = False
        except ValueError as error:  # transformers' word for settings and inputs that it does not take
            raise InvalidRequest(
                f"transformers refuses to generate with {loaded.key.model_id}: {first_line(error)}",
                hint="Look at generation_config.json and config.json of the model.",
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not devices.is_out_of_memory(error):
                raise
            refused = True
        seconds = time.monotonic() - started
    if refused:  # outside the handler, because the error's traceback holds caches and activations
        devices.release_memory()
        raise OutOfMemory(
            f"{loaded.key.model_id} ran out of memory on {loaded.key.device} with a prompt of {prompt_tokens} tokens.",
            hint="Ask with a shorter prompt or for fewer tokens, unload other models, or use a smaller precision.",
        )
    count = len(stream.token_ids)
    finished: Literal["stop", "length", "cancelled"] = "length" if count >= budget else "stop"
    return Generated(
        text=stream.text,
        prompt_tokens=prompt_tokens,
        new_tokens=count,
        tokens_per_second=count / seconds if seconds else 0.0,
        finish_reason="cancelled" if stop.stopped else finished,
    )


_NOTHING = Generated("", prompt_tokens=0, new_tokens=0, tokens_per_second=0.0, finish_reason="cancelled")


@contextmanager
def turn(lock: threading.Lock, should_stop: Callable[[], bool]) -> Iterator[bool]:
    """Hold a loaded model's lock, or give False where `should_stop` said so before it was free."""
    while not lock.acquire(timeout=TURN_SECONDS):
        if should_stop():
            yield False
            return
    try:
        yield True
    finally:
        lock.release()


def _encode(
    tokenizer: Tokenizer,
    prompt: str | None,
    messages: Sequence[Mapping[str, str]] | None,
    should_stop: Callable[[], bool],
) -> list[int]:
    if (prompt is None) == (messages is None):
        raise InvalidRequest("There must be either a prompt or messages.", hint="Send one of the two.")
    if messages is None:
        ids = tokenizer.encode(prompt or "", should_stop=should_stop)
    elif not tokenizer.has_chat_template(should_stop=should_stop):
        raise InvalidRequest("This model's tokenizer has no chat template.", hint="Use prompt instead of messages.")
    else:
        text = tokenizer.render_chat(messages, add_generation_prompt=True, should_stop=should_stop)
        ids = tokenizer.encode(text, add_special_tokens=False, should_stop=should_stop)
    if not ids:
        bos = tokenizer.bos_token_id(should_stop=should_stop)
        if bos is None:
            raise InvalidRequest("The prompt is empty.", hint="Send some text.")
        return [bos]
    return ids


def _new_tokens_left(config: Any, prompt_tokens: int, wanted: int) -> int:
    if wanted < 1:
        raise InvalidRequest("max_new_tokens is less than 1.", hint="Ask for at least 1.")
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if config.is_encoder_decoder or not isinstance(limit, int) or limit <= 0:
        return wanted
    if prompt_tokens >= limit:
        raise ContextLengthExceeded(f"The prompt has {prompt_tokens} tokens; this model reads at most {limit - 1}.")
    return min(wanted, limit - prompt_tokens)


def _require_known(ids: Sequence[int], model: PreTrainedModel) -> None:
    """A tokenizer that belongs to other weights gives ids that the embedding has no row for."""
    rows = model.get_input_embeddings().weight.shape[0]
    unknown = next((token for token in ids if not 0 <= token < rows), None)
    if unknown is not None:
        raise InvalidRequest(
            f"The tokenizer makes token {unknown} of this text, and the model knows {rows:,} tokens.",
            hint="The tokenizer does not belong to these weights; leave out special tokens, or use another model.",
        )


class _Finite(LogitsProcessor):  # type: ignore[misc]
    """Raises OutputNotFinite where no token can be chosen. Minus infinity alone is a mask, which models have."""

    def __init__(self, model_id: str, dtype: str) -> None:
        self._model_id, self._dtype = model_id, dtype

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not scores.amax(-1).isfinite().all():  # the largest of values with a NaN among them is NaN
            raise OutputNotFinite(f"The output of {self._model_id} is not finite in {self._dtype}.")
        return scores


class _Sampler(LogitsProcessor):  # type: ignore[misc]
    """Draws the next token and leaves only it, so that greedy decoding takes it.

    transformers' own sampling draws from the process-wide generator, which other threads use at the same time.
    """

    def __init__(self, temperature: float, seed: int, top_k: int | None, top_p: float | None) -> None:
        self._warpers: list[Any] = [TemperatureLogitsWarper(float(temperature))]
        if top_k:
            self._warpers.append(TopKLogitsWarper(top_k))
        if top_p is not None and top_p < 1:
            self._warpers.append(TopPLogitsWarper(top_p))
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        warped = scores.float()
        for warper in self._warpers:
            warped = warper(input_ids, warped)
        chosen = torch.multinomial(warped.softmax(-1).cpu(), 1, generator=self._generator).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


class _Stop(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self.stopped = False

    def __call__(self, input_ids: torch.Tensor, *_unused: Any, **_options: Any) -> torch.Tensor:
        self.stopped = self.stopped or self._should_stop()
        return torch.full((input_ids.shape[0],), self.stopped, dtype=torch.bool, device=input_ids.device)


class _StopStrings(StoppingCriteria):  # type: ignore[misc]
    """Ends where the new text has a string in it; transformers' own needs the tokenizer in this process."""

    def __init__(self, stream: "_TextStream", strings: Sequence[str]) -> None:
        self._stream = stream
        self._strings = strings
        self._longest = max(map(len, strings), default=0)
        self._seen = 0

    def __call__(self, input_ids: torch.Tensor, *_unused: Any, **_options: Any) -> torch.Tensor:
        text = self._stream.text
        fresh = text[max(self._seen - self._longest, 0) :]
        self._seen = len(text)
        found = any(string in fresh for string in self._strings)
        return torch.full((input_ids.shape[0],), found, dtype=torch.bool, device=input_ids.device)


class _TextStream(BaseStreamer):  # type: ignore[misc]
    """Turns token ids into text as they come, holding back what may still change.

    A token is decoded together with the one piece before it, because tokenizers treat the start of a text specially;
    a character whose bytes are spread over several tokens comes out when its last byte has.
    """

    def __init__(self, tokenizer: Tokenizer, on_delta: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._on_delta = on_delta
        self._prompt_seen = False
        self._context = self._read = 0
        self.token_ids: list[int] = []
        self.text = ""

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.token_ids.extend(value.reshape(-1).tolist())
        self._emit(final=False)

    def end(self) -> None:
        self._emit(final=True)

    def _emit(self, *, final: bool) -> None:
        known, now = self._tokenizer.decode(self.token_ids[self._context : self._read], self.token_ids[self._context :])
        if len(now) > len(known) and (final or not now.endswith("\ufffd")):
            delta = now[len(known) :]
            self._context, self._read = self._read, len(self.token_ids)
            self.text += delta
            self._on_delta(delta)
