"""Describe work under way to people: what is done now, how much of it, how fast; as fields or as lines of text."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modelyard.core.errors import STORAGE_CODES, DiskFull
from modelyard.core.units import duration, size

if TYPE_CHECKING:
    from modelyard.client.answers import (
        BundleProgress,
        ErrorDetail,
        ModelError,
        ModelResponse,
        Progress,
        TrainingResponse,
    )

_LINE_SECONDS = 10.0

WAITING = "waiting for a worker"
"""The phase of work that nobody has taken yet."""

WAITING_FOR_ROOM = "waiting for room on the disk"
WAITING_FOR_ACCESS = "waiting for access to the disk"


def disk_error(row: "ModelResponse | TrainingResponse") -> "ErrorDetail | ModelError | None":
    """Return why a model or a run waits for a disk that is full or may not be used; the server resumes it."""
    error = row["error"]
    return error if row["status"] in ("paused", "pending") and error and error["code"] in STORAGE_CODES else None


def disk_phase(error: "ErrorDetail | ModelError") -> str:
    return WAITING_FOR_ROOM if error["code"] == DiskFull.code else WAITING_FOR_ACCESS


def waits_for_worker(row: "ModelResponse") -> bool:
    """Return whether no worker has begun with the work on a model."""
    progress = row["progress"]
    if disk_error(row) or row["status"] in ("paused", "failed", "deleting"):
        return False
    if progress is None:
        return bool(row["status"] == "pending")
    # A worker may be at it although the status does not tell yet: it asks the Hub first.
    return bool(progress["phase"] == "resolving") and (bool(progress["waiting"]) or row["status"] == "quantizing")


def phase(row: "ModelResponse") -> str:
    """Describe what is being done to a model now."""
    progress = row["progress"]
    if error := disk_error(row):
        return disk_phase(error)
    if waits_for_worker(row):
        return WAITING
    if progress is None or row["status"] in ("paused", "failed", "deleting"):
        return str(row["status"])
    match progress["phase"]:
        case "resolving":
            return "looking up files"
        case "downloading" if progress["files_total"]:
            now = min(progress["files_done"] + 1, progress["files_total"])
            return f"downloading file {now} of {progress['files_total']}"
        case "verifying":
            return "verifying"
        case "loading":
            return f"loading: {progress['message']}" if progress["message"] else "loading"
        case name:
            return progress["message"] or str(name)


def amounts(progress: "Progress | BundleProgress | None") -> str:
    """4.2 GB of 16.1 GB; empty while nothing is known."""
    if progress is None or progress["bytes_total"] is None:
        return ""
    return f"{size(progress['bytes_done'])} of {size(progress['bytes_total'])}"


def speed(progress: "Progress | BundleProgress | None") -> str:
    """52.4 MB/s, 3 min left; empty while nothing flows."""
    if progress is None or not progress["bytes_per_second"]:
        return ""
    left = progress["eta_seconds"]
    return f"{size(progress['bytes_per_second'])}/s" + (f", {duration(left)} left" if left is not None else "")


@dataclass(frozen=True)
class Shown:
    """A moment of some work; `total` is None while it is not known, and `ended` when there is nothing to wait for."""

    name: str
    phase: str
    done: int
    total: int | None
    amounts: str
    speed: str
    ended: bool


class Display(Protocol):
    def update(self, shown: Shown) -> None: ...


def shown_model(row: "ModelResponse") -> Shown:
    """Describe the work on a model; a ready one may still be loaded into memory."""
    progress = row["progress"]
    return Shown(
        name=row["model_id"],
        phase=phase(row),
        done=progress["bytes_done"] if progress else 0,
        total=progress["bytes_total"] if progress else None,
        amounts=amounts(progress),
        speed=speed(progress),
        ended=row["status"] == "ready" and progress is None,
    )


class Lines:
    """Display a line for each phase, and one every few seconds within it, with `note`."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._phase = ""
        self._said_at = 0.0

    def update(self, shown: Shown) -> None:
        again = shown.phase == self._phase and time.monotonic() - self._said_at < _LINE_SECONDS
        if shown.ended or again:
            return
        self._phase, self._said_at = shown.phase, time.monotonic()
        parts = (shown.phase, shown.amounts, shown.speed)
        self._note(f"{shown.name}: " + ", ".join(part for part in parts if part))
