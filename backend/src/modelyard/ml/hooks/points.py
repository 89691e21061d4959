"""Hook points of a loaded model: modules by name, whose output is one floating vector per token."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from modelyard.core.errors import InvalidRequest
from modelyard.ml.generation.prefill import last_logits_only
from modelyard.ml.loading import devices

NEAREST = 3
LOGITS = "logits"
"""The name of what the whole model returns."""
_OUTPUTS = ("logits", "last_hidden_state")
"""The tensors that come first in what whole models return."""
_ROWS, _TOKENS = 2, 7  # unlike each other, as a model's widths hardly are

Layout = Literal["rows", "tokens_first", "flat"]


@dataclass(frozen=True)
class HookShape:
    """What a module returns: `shape` for each token, in the model's own `dtype`."""

    shape: tuple[int, ...]
    layout: Layout
    dtype: torch.dtype

    @property
    def values(self) -> int:
        """Return how many values there are for each token."""
        return math.prod(self.shape)


def find_module(model: nn.Module, path: str) -> nn.Module:
    """Return the module with a name. Raises InvalidRequest, with the nearest names."""
    if path == LOGITS and getattr(model, "get_output_embeddings", lambda: None)() is not None:
        return model
    try:
        found: nn.Module = model.get_submodule(path)
    except AttributeError:
        found = model
    if found is model:
        raise _unknown(path, [name for name, _ in model.named_modules()])
    return found


def _unknown(path: str, known: Sequence[str]) -> InvalidRequest:
    near = difflib.get_close_matches(path, [name for name in known if name], NEAREST, cutoff=0.0)
    return InvalidRequest(
        f"This model has no hook point {path[:200]!r}.",
        hint=f"The nearest are {', '.join(near)}; the architecture page lists all." if near else None,
    )


def first_tensor(output: Any) -> torch.Tensor | None:
    """Return what a module returned: a tensor, or the first of a tuple or of a model's output."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return output[0] if output and isinstance(output[0], torch.Tensor) else None
    named = [getattr(output, name, None) for name in _OUTPUTS]
    return next((found for found in named if isinstance(found, torch.Tensor)), None)


def with_first_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """Return a module's output with another first tensor."""
    if isinstance(output, torch.Tensor):
        return tensor
    if isinstance(output, (tuple, list)):
        return type(output)([tensor, *output[1:]])
    setattr(output, next(name for name in _OUTPUTS if getattr(output, name, None) is not None), tensor)
    return output


def by_row(tensor: torch.Tensor, shape: HookShape, rows: int, tokens: int) -> torch.Tensor:
    """Return a module's output as [rows, tokens, …], a view of it."""
    if shape.layout == "flat":
        return tensor.view(rows, tokens, *shape.shape)
    return tensor.transpose(0, 1) if shape.layout == "tokens_first" else tensor


@contextmanager
def hooked(model: nn.Module, hooks: Mapping[str, Callable[[nn.Module, Any, Any], Any]]) -> Iterator[None]:
    """Have forward hooks on modules while the context lasts. Raises InvalidRequest for a name that is unknown."""
    with ExitStack() as stack:
        for path, hook in hooks.items():
            handle = find_module(model, path).register_forward_hook(hook)
            stack.callback(handle.remove)
        yield


@torch.no_grad()
def probe(model: PreTrainedModel, paths: Sequence[str]) -> dict[str, HookShape]:
    """Run a few tokens and return what each of these modules gives. The caller holds the model's lock.

    Raises InvalidRequest for a module that is unknown, does not run, runs more than once in a pass, or does not return
    a floating-point tensor with one vector per token.
    """
    calls: dict[str, list[torch.Tensor | None]] = {path: [] for path in paths}

    def note(path: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: calls[path].append(first_tensor(output))

    with hooked(model, {path: note(path) for path in calls}):
        run(
            model, torch.ones((_ROWS, _TOKENS), dtype=torch.long), torch.ones((_ROWS, _TOKENS), dtype=torch.long), paths
        )
    return {path: _shape(path, found) for path, found in calls.items()}


def run(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, paths: Sequence[str]) -> None:
    """Run a batch of token ids through a model, as `model(input_ids=…, attention_mask=…)` does.

    Logits that nobody looks at are not computed. Of an encoder-decoder model only the encoder runs, which reads texts.
    """
    device, body, options = devices.input_device(model), model, dict[str, int]()
    if model.config.is_encoder_decoder:
        body = model.get_encoder()
    elif all(path.startswith(f"{model.base_model_prefix}.") for path in paths):
        options = last_logits_only(model)
    body(input_ids=ids.to(device), attention_mask=mask.to(device), **options)


def _shape(path: str, found: list[torch.Tensor | None]) -> HookShape:
    what = f"{path} "
    if not found:
        what += "does not run when this model reads a text"
    elif len(found) > 1:
        what += f"runs {len(found)} times in one pass, so its output is not one tensor"
    elif found[0] is None:
        what += "returns no tensor"
    elif not found[0].is_floating_point():
        what += f"returns {str(found[0].dtype).removeprefix('torch.')}, not floating-point values"
    else:
        sizes = tuple(found[0].shape)
        layouts: tuple[tuple[Layout, tuple[int, ...]], ...] = (
            ("rows", (_ROWS, _TOKENS)), ("tokens_first", (_TOKENS, _ROWS)), ("flat", (_ROWS * _TOKENS,)),
        )  # fmt: skip
        for layout, begin in layouts:
            if sizes[: len(begin)] == begin and len(sizes) > len(begin):
                return HookShape(sizes[len(begin) :], layout, found[0].dtype)
        what += f"returns {list(sizes)} for {_ROWS} texts of {_TOKENS} tokens, not one vector per token"
    raise InvalidRequest(f"{what}.", hint="Use one of the hook points of the architecture page.")
