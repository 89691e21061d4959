"""The most memory a forward pass holds beside the weights, measured on the meta device.

Every tensor a real eager pass would allocate is made here too, with its size but no memory behind it; we watch them
come and go. Fused attention counts as a flash kernel, which needs no score matrix. Not covered are a kernel's own
workspace, allocator rounding and what torch.compile changes.
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from modelyard.ml.kv_cache import STATE_FIELDS, state_bytes
from modelyard.ml.meta_forward import CannotRun, forward
from modelyard.ml.meta_model import MetaModel


@dataclass(frozen=True)
class Activations:
    """`activation_bytes` is the peak less the `kv_cache_bytes` that stay; `None` with a reason if unknown."""

    activation_bytes: int | None
    kv_cache_bytes: int | None
    reason: str | None


def measure_activations(
    skeleton: MetaModel, *, batch: int, sequence: int, all_logits: bool = False, use_cache: bool = True
) -> Activations:
    """The peak of one prefill of `batch` sequences of `sequence` tokens.

    As in generation, logits are computed for the last position only where the model can do that, unless `all_logits`.
    """
    arguments: dict[str, Any] = {"use_cache": use_cache}
    if not all_logits:
        arguments["logits_to_keep"] = 1
    try:
        with _LiveBytes() as live:
            outputs = forward(skeleton, batch=batch, sequence=sequence, **arguments)
            live.stop()
    except CannotRun as error:
        return Activations(None, None, str(error))
    cache = state_bytes([getattr(outputs, name, None) for name in STATE_FIELDS])
    return Activations(max(live.peak - cache, 0), cache, None)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operators create until the last tensor on them is gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._counting = True
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def stop(self) -> None:
        self._counting = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # What comes in existed before: weights, and tensors that are counted already.
        inputs = {id(value.untyped_storage()) for value in tree_iter((args, kwargs)) if isinstance(value, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor) and self._counting:
                storage = value.untyped_storage()
                if id(storage) not in inputs and storage not in self._known:
                    self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self._live -= size
