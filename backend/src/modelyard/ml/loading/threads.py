"""How many threads torch and other libraries compute with, where OMP_NUM_THREADS comes too late."""

import ctypes
import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_SOFT_PAUSE = 1
"""omp_pause_soft in omp.h."""

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


def end_team() -> None:
    """End the threads of GNU's OpenMP that wait for more work of this thread; its next loop starts new ones.

    Threads that wait for each other spin for a moment only while all teams together have no more threads than there
    are processors; otherwise each pass of a model makes them sleep and wake thousands of times. So who has computed and
    now waits must leave no team behind: with that of the thread that had loaded a 135M model, another one wrote
    14 tokens/s with it on two cores, and 26 without. Nothing is ended for other runtimes, which pause all threads.
    """
    for library in _gnu_runtimes():
        library.omp_pause_resource(_SOFT_PAUSE, library.omp_get_initial_device())


@lru_cache
def _gnu_runtimes() -> list[ctypes.CDLL]:
    """Return those that are loaded when this is first asked, which is after torch computed something."""
    runtimes = [ctypes.CDLL(path) for path in _openmp_libraries() if "libgomp" in path]
    return [runtime for runtime in runtimes if hasattr(runtime, "omp_pause_resource")]


def _openmp_libraries() -> set[str]:
    """Return the OpenMP runtimes that are loaded; several packages bring one. Empty where there is no /proc."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return set()
    return {found[0] for line in maps.splitlines() if (found := _OPENMP.search(line))}
