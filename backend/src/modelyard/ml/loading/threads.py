"""How many threads torch and other libraries compute with, where OMP_NUM_THREADS comes too late."""

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path

_OPENMP = re.compile(r"\S*/lib(?:gomp|iomp5|omp)\b\S*\.so\S*$")


def obey_environment() -> None:
    """Have this thread, and torch everywhere in this process, use as many threads as OMP_NUM_THREADS says now.

    Does nothing where it says nothing, or nothing that is a number.
    """
    import torch

    try:
        number = int(os.environ["OMP_NUM_THREADS"].partition(",")[0])
    except (KeyError, ValueError):
        return
    if number < 1:
        return
    torch.set_num_threads(number)
    for path in _openmp_libraries():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(path).omp_set_num_threads(number)


def _openmp_libraries() -> set[str]:
    """The OpenMP runtimes that are loaded; several packages bring one. Empty where there is no /proc."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return set()
    return {found[0] for line in maps.splitlines() if (found := _OPENMP.search(line))}
