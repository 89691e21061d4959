"""How far a load is: transformers hands its progress bar every parameter it is about to put in place."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers.utils import logging as transformers_logging

from modelyard.core.safetensors_header import read_header

Parameters = Iterable[tuple[str, Any]]
"""Names with transformers' plan for each: which tensors of the files it is made of."""

StepName = Literal["waiting", "making_room", "building", "reading", "quantizing", "finishing"]

_DOING = {"reading": "reading weights", "quantizing": "quantizing"}
_BAR = "Loading weights"


@dataclass(frozen=True)
class LoadStep:
    """What a load does now. Bytes of the weight files; `bytes_total` is None where there is nothing to count.

    `done` of `total` parameters are in place; None where none are counted.
    """

    name: StepName
    message: str
    bytes_done: int = 0
    bytes_total: int | None = None
    done: int | None = None
    total: int | None = None
    is_last: bool = False
    """Nothing stops the load after this one."""


OnStep = Callable[[LoadStep], None]


def ignore_step(_step: LoadStep) -> None:
    """Do nothing: for a load that nobody watches."""


@contextmanager
def watching_parameters(watch: Callable[[Parameters], Parameters]) -> Iterator[None]:
    """While it lasts, `from_pretrained` takes its parameters from `watch`, which is given them all at once.

    What `watch` raises ends the load. For the whole process: two loads at a time would be mixed up.
    """

    def hook(factory: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if options.get("desc") == _BAR:
            return watch(arguments[0])
        return factory(*arguments, **options)

    previous = transformers_logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)


@contextmanager
def telling_steps(files: Iterable[Path], name: Literal["reading", "quantizing"], on_step: OnStep) -> Iterator[None]:
    """Tell of each parameter that a load begins with, in bytes of `files`; of pickle files, which tell no sizes, in
    numbers of parameters. `name` is what is done to them.
    """
    doing = _DOING[name]

    def watch(parameters: Parameters) -> Iterator[tuple[str, Any]]:
        plan = list(parameters)
        sizes = [sum(stored.get(name, 0) for name in _sources(mapping)) for _, mapping in plan]
        total, done = sum(sizes), 0
        for number, ((parameter, mapping), size) in enumerate(zip(plan, sizes, strict=True), 1):
            counted = "" if total else f", tensor {number} of {len(plan)}"
            on_step(LoadStep(name, doing + counted, done, total or None, number - 1, len(plan)))
            yield parameter, mapping
            done += size
        on_step(LoadStep(name, doing, done, total or None, len(plan), len(plan)))

    stored = _tensor_bytes(files)
    on_step(LoadStep(name, doing))
    with watching_parameters(watch):
        yield


def _sources(mapping: Any) -> set[str]:
    """Return the tensors of the files that a parameter, or several fused with it, are made of."""
    return set().union(*mapping.layer_targets.values())


def _tensor_bytes(files: Iterable[Path]) -> dict[str, int]:
    """Return the bytes of every tensor, as the headers of safetensors files tell; empty for pickle files."""
    sizes: dict[str, int] = {}
    for path in files:
        if path.suffix == ".safetensors":
            sizes |= {name: tensor.bytes for name, tensor in read_header(path, path.parent.name).items()}
    return sizes
