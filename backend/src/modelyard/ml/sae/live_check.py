"""The last test of a model before it is trained on: a real forward pass of its loaded weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from modelyard.core.errors import InvalidRequest, TrainingIncompatible

_BATCH, _SEQUENCE = 2, 16


def first_tokens(tokenizer: Any, texts: Iterable[str], needed: int) -> list[int]:
    """Token ids of the first texts. Raises InvalidRequest where there are fewer than `needed`."""
    ids: list[int] = []
    for text in texts:
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= needed:
            return ids
    raise InvalidRequest(
        f"The data set has {len(ids)} tokens, less than one context of {needed}.",
        hint="Use a longer text or a smaller context_size.",
    )


def check_live(model: Any, tokenizer: Any, hook_point: str, d_in: int, ids: list[int]) -> None:
    """Raises TrainingIncompatible if the hook point's real output is not what was expected of it."""
    embeddings = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    if len(tokenizer) > rows:
        raise _no("tokenizer_too_large", f"The tokenizer has {len(tokenizer)} tokens, the model embeddings for {rows}.")
    seen: list[torch.Tensor | None] = []

    def note(_module: nn.Module, _args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) and output else output
        seen.append(value if isinstance(value, torch.Tensor) else None)

    try:
        module = model.get_submodule(hook_point)
    except AttributeError:
        raise _no("no_such_hook", f"The loaded model has no module {hook_point}.") from None
    handle = module.register_forward_hook(note)
    try:
        repeated = (ids * (_BATCH * _SEQUENCE))[: _BATCH * _SEQUENCE]
        tokens = torch.tensor(repeated, device=embeddings.weight.device).reshape(_BATCH, _SEQUENCE)
        with torch.no_grad():
            model(tokens)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise _no("hook_runs_otherwise", f"{hook_point} ran {len(seen)} times in one forward pass instead of once.")
    found = seen[0]
    if found is None or tuple(found.shape) != (_BATCH, _SEQUENCE, d_in):
        shape = "no tensor" if found is None else f"{tuple(found.shape)}"
        raise _no("wrong_shape", f"{hook_point} returned {shape} and not (batch, sequence, {d_in}).")
    if not bool(torch.isfinite(found).all()):
        raise _no("not_finite", f"{hook_point} returned values that are not finite.")


def _no(reason: str, message: str) -> TrainingIncompatible:
    return TrainingIncompatible(message, hint="Choose another hook point or precision.", reason=reason)
