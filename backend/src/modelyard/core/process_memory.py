"""How much memory a process takes."""

import re
from pathlib import Path

import psutil

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


def proportional_bytes(pid: int) -> int:
    """Return a process's memory, counting what several processes share in parts, so that sums are true.

    Where the system does not divide (it is not Linux), all that is resident; 0 for a process that has ended or is
    another user's.
    """
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
