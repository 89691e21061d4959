"""What a process that reads strangers' files may take: on Linux the kernel refuses it more."""

import math
import os
import resource
import sys
from dataclasses import dataclass
from functools import cache

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Of one piece of work: memory above what the process held before, processor seconds, and seconds by the clock.

    The kernel enforces the first two on Linux, and the second on macOS; the clock is watched by whoever waits.
    """

    memory_bytes: int
    cpu_seconds: int
    seconds: float


def limit_this_process(limits: Limits, most_bytes: int) -> None:
    """Let this process take so much from now on; the kernel ends it, or refuses it memory, when it wants more.

    `most_bytes` is what `data_bytes` may come to.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + limits.cpu_seconds)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_DATA, most_bytes)


def memory_limit() -> int | None:
    """Return what `data_bytes` may come to; None without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if limit == resource.RLIM_INFINITY else limit


def data_bytes() -> int:
    """Return what RLIMIT_DATA counts of this process; 0 where there is no such limit."""
    if sys.platform != "linux":
        return 0
    return int(os.pread(_statm(), 256, 0).split()[5]) * resource.getpagesize()


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@cache
def _statm() -> int:
    """Open before /proc is out of reach."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
