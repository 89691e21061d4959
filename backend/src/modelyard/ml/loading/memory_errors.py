"""Lack of memory: before work that cannot fit, and in the many forms it takes in the middle."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from modelyard.core import units
from modelyard.core.errors import OutOfMemory
from modelyard.ml.loading import devices

_HINT = "Unload models, or use a machine with more memory, then retry."


@contextmanager
def memory_errors(name: str, verb: str, needed_bytes: int) -> Iterator[None]:
    """Raise OutOfMemory unless system memory has room for work on a model, and where it runs out meanwhile.

    `verb` is what is done to it, such as "convert".
    """
    stem = verb.removesuffix("e")
    free = devices.free_bytes(torch.device("cpu"))
    if needed_bytes > free:
        raise OutOfMemory(
            f"{stem.capitalize()}ing {name} needs {units.size(needed_bytes)} of memory, where {units.size(free)} are"
            " free.",
            hint=_HINT,
        )
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
        raise OutOfMemory(f"Memory ran out while {name} was being {stem}ed.", hint=_HINT) from error
