"""Continuations of models whose sequences cannot share a batch: one after the other, by transformers' `generate`."""

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from modelyard.core.errors import InvalidRequest
from modelyard.ml.generation.batching import out_of_memory
from modelyard.ml.generation.logprobs import read_likely
from modelyard.ml.generation.sampling import generation_config
from modelyard.ml.generation.sequence import Sequence
from modelyard.ml.hooks.interventions import steered
from modelyard.ml.inspect.meta_model import first_line
from modelyard.ml.loading import devices

if TYPE_CHECKING:
    from modelyard.ml.loading.loaded_model import LoadedModel


def run_one_by_one(loaded: "LoadedModel", sequences: SequenceOf[Sequence]) -> None:
    """Write each sequence in its turn; errors are theirs."""
    for sequence in sequences:
        with loaded.turn(lambda sequence=sequence: sequence.unwanted, sequence.adapter) as is_ours:  # type: ignore[misc]
            error = _run(loaded, sequence) if is_ours else None
        if isinstance(error, MemoryError):
            devices.release_memory()
            error = out_of_memory(loaded, len(sequence.prompt))
        sequence.end(error)


def _run(loaded: "LoadedModel", sequence: Sequence) -> Exception | None:
    """Write a sequence; return the error it ends with, without its traceback, which would hold caches."""
    sequence.start()
    try:
        with steered(sequence.steering, loaded.model), _positions_told(loaded.model, sequence):
            _generate(loaded.model, sequence)
    except ValueError as error:  # transformers' word for settings and inputs that it does not take
        return InvalidRequest(
            f"transformers refuses to generate with {loaded.key.model_id}: {first_line(error)}",
            hint="Look at generation_config.json and config.json of the model.",
        )
    except Exception as error:  # noqa: BLE001 - raised by the request, in its own thread
        return MemoryError() if devices.is_out_of_memory(error) else error.with_traceback(None)
    return None


def _generate(model: PreTrainedModel, sequence: Sequence) -> None:
    inputs = torch.tensor([sequence.prompt], device=devices.input_device(model))
    if sequence.prompt_logprobs:
        with torch.no_grad():
            logits = model(input_ids=inputs, use_cache=False).logits[0]
        sequence.prompt_likely = read_likely(logits, sequence.prompt[1:], sequence.logprobs or 0)
    if not sequence.max_new_tokens:
        return
    chooser = _Choose(sequence)
    hook = model.register_forward_hook(chooser.note_logits) if sequence.logprobs is not None else None
    try:
        model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=generation_config(model, None, sequence.max_new_tokens),
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([_Unwanted(sequence)]),
        )
    finally:
        if hook is not None:
            hook.remove()


@contextmanager
def _positions_told(model: PreTrainedModel, sequence: Sequence) -> Iterator[None]:
    """Tell a sequence's steering which tokens each pass has: the last ones of those there are."""
    steering = sequence.steering
    if steering is None:
        yield
        return

    def tell(_model: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        ids = options["input_ids"] if "input_ids" in options else args[0]
        end = len(sequence.ids)
        steering.at(torch.arange(end - ids.shape[1], end, device=ids.device)[None], [len(sequence.prompt)])

    handle = model.register_forward_pre_hook(tell, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Choose(LogitsProcessor):  # type: ignore[misc]
    """Chooses the next token and leaves only it, so that greedy decoding takes it."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._logits: torch.Tensor | None = None

    def note_logits(self, _model: Any, _inputs: Any, output: Any) -> None:
        """Keep the logits [1, vocabulary] as the model wrote them, before its settings change them."""
        self._logits = output.logits[:, -1]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sequence = self._sequence
        token = sequence.chooser.choose(scores[0], input_ids[0].tolist())
        likely = None
        if self._logits is not None:
            (likely,) = read_likely(self._logits, [token], sequence.logprobs or 0)
        sequence.add(token, likely)
        chosen = torch.full_like(scores, -torch.inf)
        chosen[0, token] = 0.0
        return chosen


class _Unwanted(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence

    def __call__(self, input_ids: torch.Tensor, *_unused: Any, **_options: Any) -> torch.Tensor:
        ended = self._sequence.unwanted
        return torch.full((input_ids.shape[0],), ended, dtype=torch.bool, device=input_ids.device)
