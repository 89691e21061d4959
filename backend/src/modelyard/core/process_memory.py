"""How much memory a process takes."""

import re
import threading
import time
from pathlib import Path

import psutil

FRESH_SECONDS = 1.0
"""How long a figure counts: reading one takes the processor up to 20 ms, for a process that has imported torch."""

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_known: dict[int, tuple[float, int]] = {}
_lock = threading.Lock()


def proportional_bytes(pid: int) -> int:
    """Return a process's memory, counting what several processes share in parts, so that sums are true.

    Where the system does not divide (it is not Linux), all that is resident; 0 for a process that has ended or is
    another user's. The figure may be FRESH_SECONDS old.
    """
    now = time.monotonic()
    with _lock:
        for old in [pid for pid, (read_at, _) in _known.items() if now - read_at > FRESH_SECONDS]:
            del _known[old]
        known = _known.get(pid)
    if known is not None:
        return known[1]
    found = _read(pid)
    with _lock:
        _known[pid] = now, found
    return found


def _read(pid: int) -> int:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
        if found is not None:
            return int(found[1]) * 1024
    except OSError:
        pass
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
