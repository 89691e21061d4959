"""Activations that are answered at once: each row is run alone, without padding."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modelyard.core.errors import NoTokenizer
from modelyard.ml.generation.batching import out_of_memory
from modelyard.ml.hooks.capture import DTYPES, Positions, capture, kept, rows_kept
from modelyard.ml.hooks.interventions import Intervention, Steering, steered
from modelyard.ml.hooks.points import HookShape, probe
from modelyard.ml.loading import devices
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled

MAX_BYTES = 16_000_000
"""Of the tensors of one answer; more is for files."""


@dataclass(frozen=True)
class Wanted:
    """What is read: module paths by the names they were asked for, which tokens, and in which dtype."""

    hook_points: Mapping[str, str]
    positions: Positions = "all"
    dtype: str = "float32"
    adapter: str | None = None
    interventions: Sequence[Intervention] = ()


@dataclass(frozen=True)
class Prepared:
    """What the model says to a request: the shapes of hook points, and the interventions on it."""

    shapes: Mapping[str, HookShape]
    steering: Steering | None

    def token_bytes(self, dtype: str) -> int:
        """Return what one token takes, of all hook points together."""
        return sum(shape.values for shape in self.shapes.values()) * DTYPES[dtype].itemsize

    def capture(self, loaded: LoadedModel, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run a batch. The caller holds the model's lock. Raises OutOfMemory."""
        try:
            with steered(self.steering, loaded.model):
                if self.steering is not None:
                    device = devices.input_device(loaded.model)
                    positions = torch.arange(ids.shape[1], device=device).expand(ids.shape)
                    self.steering.at(positions, [ids.shape[1]] * len(ids))
                return capture(loaded.model, ids, mask, self.shapes)
        except Exception as error:
            if not devices.is_out_of_memory(error):
                raise
        devices.release_memory()  # outside the handler, because the error's traceback holds activations
        raise out_of_memory(loaded, int(mask.sum()))


def prepare(loaded: LoadedModel, wanted: Wanted, should_stop: Callable[[], bool]) -> Prepared:
    """Find out what hook points give. Raises InvalidRequest, LoadCancelled when `should_stop` says so."""
    with loaded.turn(should_stop, wanted.adapter) as is_ours:
        if not is_ours:
            raise LoadCancelled
        shapes = probe(loaded.model, list(wanted.hook_points.values()))
        steering = Steering(loaded.model, wanted.interventions) if wanted.interventions else None
    return Prepared(shapes, steering)


def read_directly(
    loaded: LoadedModel, wanted: Wanted, rows: Iterable[list[int]], first_row: int, should_stop: Callable[[], bool]
) -> dict[str, Any] | None:
    """Return the tensors and tokens as the API answers them; None where they take more than MAX_BYTES.

    Raises what `prepare` and `Prepared.capture` raise.
    """
    prepared = prepare(loaded, wanted, should_stop)
    token_bytes = prepared.token_bytes(wanted.dtype)
    read: list[list[int]] = []
    tokens: list[dict[str, Any]] = []
    for ids in rows:
        places = kept(len(ids), wanted.positions)
        tokens += [{"row": first_row + len(read), "position": place, "id": ids[place]} for place in places]
        read.append(ids)
        if len(tokens) * token_bytes > MAX_BYTES:
            return None
    pieces: dict[str, list[torch.Tensor]] = {path: [] for path in prepared.shapes}
    for ids in read:
        with loaded.turn(should_stop, wanted.adapter) as is_ours:
            if not is_ours or should_stop():
                raise LoadCancelled
            one = torch.tensor([ids])
            found = prepared.capture(loaded, one, torch.ones_like(one))
        for path, tensor in found.items():
            pieces[path].append(rows_kept(tensor, [len(ids)], wanted.positions, wanted.dtype))
    return {
        "tensors": {name: _answer(torch.cat(pieces[path]), wanted.dtype) for name, path in wanted.hook_points.items()},
        "tokens": _with_texts(loaded, tokens, should_stop),
    }


def _answer(tensor: torch.Tensor, dtype: str) -> dict[str, Any]:
    content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return {"shape": list(tensor.shape), "dtype": dtype, "data": base64.b64encode(content).decode()}


def _with_texts(
    loaded: LoadedModel, tokens: list[dict[str, Any]], should_stop: Callable[[], bool]
) -> list[dict[str, Any]]:
    try:
        pieces = loaded.tokenizer.pieces({token["id"] for token in tokens}, should_stop=should_stop)
    except NoTokenizer:
        return [token | {"text": None} for token in tokens]
    return [token | {"text": pieces[token["id"]].decode(errors="replace")} for token in tokens]
