"""Limits a container sets, which the machine's own figures do not show."""

from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes this container may use in all, and how many of them are left."""

    total_bytes: int
    free_bytes: int


def memory_limit(cgroup: Path = CGROUP) -> MemoryLimit | None:
    """The limit of this process's cgroup (v2), or None without one.

    Page cache counts as free, because it is given up first.
    """
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except FileNotFoundError:
        return None
    if limit == "max":
        return None
    total = int(limit)
    return MemoryLimit(total, max(0, total - used + int(statistics.get("inactive_file", 0))))
