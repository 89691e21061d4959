"""Limits a container sets, which the machine's own figures do not show; and what the kernel did for want of memory."""

from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
VMSTAT = Path("/proc/vmstat")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes this container may use in all, and how many of them are left."""

    total_bytes: int
    free_bytes: int


def memory_limit(cgroup: Path = CGROUP) -> MemoryLimit | None:
    """Return the limit of this process's cgroup (v2), or None without one.

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


@dataclass(frozen=True)
class OomKills:
    """How many processes the kernel has killed for want of memory since `boot`, in this container or machine."""

    boot: str
    count: int


def oom_kills(cgroup: Path = CGROUP, vmstat: Path = VMSTAT) -> OomKills | None:
    """Return the kernel's count, of this container's cgroup (v2) where it has one.

    None on a system that does not count.
    """
    for path in (cgroup / "memory.events", vmstat):
        try:
            counts = dict(line.split() for line in path.read_text().splitlines())
            return OomKills(BOOT_ID.read_text().strip(), int(counts["oom_kill"]))
        except (OSError, KeyError):
            continue
    return None


def killed_for_memory(before: OomKills | None, now: OomKills | None) -> bool:
    """Return whether the kernel killed somebody between two counts; not where it is not known."""
    return before is not None and now is not None and before.boot == now.boot and now.count > before.count
