"""What operators make of tensors without values, remembered by the shapes they are given.

torch works out many results on the meta device in Python, which takes far longer than looking them up, and a model asks
the same again in every block and every turn of a loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
# Besides pointwise operators. None of these returns a view or changes what it is given.
_OTHERS = (
    _aten.sum.dim_IntList,
    _aten.mean.dim,
    _aten.cumsum.default,
    _aten.floor_divide.default,
    _aten.cat.default,
    _aten.stack.default,
)

Results = dict[Any, "_Result"]


@dataclass(frozen=True)
class _Result:
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def make(self) -> torch.Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


class RememberedResults(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes the results of pointwise and a few other operators anew from `known`, which it fills."""

    def __init__(self, known: Results) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if kwargs or not (torch.Tag.pointwise in func.tags or func in _OTHERS) or func._schema.is_mutable:
            return func(*args, **(kwargs or {}))
        key = (func, *map(_key, args))
        known = self._known.get(key) if None not in key else None
        if known is not None:
            return known.make()
        result = func(*args)
        if None not in key and isinstance(result, torch.Tensor) and result.is_meta and not _shares(result, args):
            self._known[key] = _Result(result.shape, result.stride(), result.dtype)
        return result


def _key(value: Any) -> Any:
    """Return what of an argument the result's shape depends on; None where that is not known."""
    if isinstance(value, torch.Tensor):
        return (value.shape, value.stride(), value.dtype) if value.is_meta else None
    if isinstance(value, (list, tuple)):
        items = tuple(map(_key, value))
        return None if None in items else items
    # Equal numbers of two types are no equal keys: their results have two dtypes.
    return (type(value), value) if value is None or isinstance(value, (bool, int, float, str, torch.dtype)) else None


def _shares(result: torch.Tensor, args: tuple[Any, ...]) -> bool:
    storage = result.untyped_storage()
    return any(isinstance(value, torch.Tensor) and value.untyped_storage() is storage for value in args)
