"""Loops over the tokens of a prompt in a model's code, of which a pass on the meta device runs a few turns only.

State-space models walk over a prompt token by token, in Python. Turns that make the same tensors need not all be run:
the first few, one from the middle and the last are, and what the others would leave behind is counted.
"""

import builtins
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

LEAST_TURNS = 64
"""Loops of fewer turns are run whole."""

_FIRST = 4  # turns that are run in any case; the first may differ from the others, as it begins the state
_JOINING = (torch.stack, torch.cat, torch.concat, torch.concatenate)

OnSkip = Callable[[Sequence[torch.UntypedStorage], int], None]
"""Told of the storages that one turn left behind, and of how many more turns would have left as much."""


class LoopNotUnderstood(Exception):
    """What a shortened loop left behind is used in a way that needs the result of every turn."""


@dataclass
class _Turn:
    """The shapes that the calls of one turn returned, with the weights they used, and the storages they made."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    made: "weakref.WeakSet[torch.UntypedStorage]" = field(default_factory=weakref.WeakSet)


class TokenLoops(TorchFunctionMode):
    """While it lasts, `range(tokens)` in a model's own code yields a few of its numbers, if the turns are alike.

    A list that such a loop fills is as long as ever once it is stacked or concatenated.
    """

    def __init__(self, tokens: int, on_skip: OnSkip | None = None) -> None:
        super().__init__()
        self._tokens = tokens
        self._on_skip = on_skip
        self._running: list[list[_Turn]] = []
        # Of tensors that stand for those of skipped turns: for how many.
        self._stands_for: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()

    @contextmanager
    def over(self, model: nn.Module) -> Iterator[None]:
        """Shorten the loops in the code of the model's classes."""
        modules = _modelling_code(model)
        for module in modules:
            vars(module)["range"] = self._range
        try:
            with self:
                yield
        finally:
            for module in modules:
                del vars(module)["range"]

    def _range(self, *bounds: int) -> "builtins.range | _Shortened":
        numbers = builtins.range(*bounds)
        if len(numbers) == self._tokens and self._tokens >= LEAST_TURNS:
            return _Shortened(numbers, self._turns)
        return numbers

    def _turns(self, numbers: builtins.range) -> Iterator[int]:
        turns: list[_Turn] = []
        self._running.append(turns)
        middle = len(numbers) // 2
        try:
            for number in (*numbers[:_FIRST], numbers[middle]):
                turns.append(_Turn())
                yield number
        finally:
            self._running.remove(turns)
        if not _alike(turns[1:]):
            yield from numbers[_FIRST:middle]
            yield from numbers[middle + 1 :]
            return
        skipped = len(numbers) - _FIRST - 2
        left = list(turns[2].made)  # of turns before the last only what was to last is left
        for storage in left:
            self._stands_for[storage] = skipped
        if self._on_skip is not None:
            self._on_skip(left, skipped)
        yield numbers[-1]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if len(self._stands_for):
            args, kwargs = self._with_skipped(func, args, kwargs)
        result = func(*args, **kwargs)
        for turns in self._running:
            _note(turns[-1], func, (args, kwargs), result)
        return result

    def _with_skipped(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the arguments, with tensors that stand for several as often as that in lists that are joined."""
        if func in _JOINING:
            if args:
                return (self._repeated(args[0]), *args[1:]), kwargs
            return args, kwargs | {"tensors": self._repeated(kwargs["tensors"])}
        if any(_storage(tensor) in self._stands_for for tensor in _tensors((args, kwargs))):
            raise LoopNotUnderstood
        return args, kwargs

    def _repeated(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [tensor for tensor in tensors for _ in range(1 + self._stands_for.get(_storage(tensor), 0))]


class _Shortened:
    """A range that, walked over, yields what `turns` makes of it."""

    def __init__(self, numbers: builtins.range, turns: Callable[[builtins.range], Iterator[int]]) -> None:
        self._numbers = numbers
        self._turns = turns

    def __iter__(self) -> Iterator[int]:
        return self._turns(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return self._numbers[index]

    def __reversed__(self) -> Iterator[int]:
        return reversed(self._numbers)


def _modelling_code(model: nn.Module) -> list[ModuleType]:
    names = {type(module).__module__ for module in model.modules()}
    return [sys.modules[name] for name in names if name.startswith("transformers.models.")]


def _alike(turns: Sequence[_Turn]) -> bool:
    """Return whether all turns made the same calls, and any."""
    return bool(turns[0].calls) and all(turn.calls == turns[0].calls for turn in turns)


def _note(turn: _Turn, func: Any, arguments: Any, result: Any) -> None:
    given = list(_tensors(arguments))
    weights = tuple(id(tensor) for tensor in given if isinstance(tensor, nn.Parameter))
    known = {id(_storage(tensor)) for tensor in given}
    returned = list(_tensors(result))
    turn.calls.append((func, weights, *((tensor.shape, tensor.dtype) for tensor in returned)))
    turn.made.update(storage for storage in map(_storage, returned) if id(storage) not in known)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    return (item for item in tree_iter(value) if isinstance(item, torch.Tensor))


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
