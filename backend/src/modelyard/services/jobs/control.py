"""How the work of a job reports where it stands, and how it stops when it is asked to."""

from dataclasses import dataclass
from typing import Protocol, TypedDict

from modelyard.models import JobControl


class JobStep(TypedDict):
    """Which part of the work is under way; `done` of `total` pieces of it, where they are counted."""

    name: str
    done: int | None
    total: int | None


@dataclass(frozen=True)
class JobProgress:
    """What a worker reports with a heartbeat; bytes and seconds.

    `bytes_moved` is what this worker fetched or read itself; None says nothing new about it.
    """

    phase: str
    bytes_done: int = 0
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    files_done: int = 0
    files_total: int | None = None
    message: str | None = None
    bytes_moved: int | None = None
    step: JobStep | None = None


STARTING: JobStep = {"name": "starting", "done": None, "total": None}
"""The libraries are being imported."""

IMPORTING_MESSAGE = "importing libraries"
"""The message of that step."""


class JobPaused(Exception):
    """The work stopped on request, the user's or its worker's; what was done is kept, and it can be resumed."""


class JobCancelled(Exception):
    """The work stopped because the user cancelled it."""


class JobReporter(Protocol):
    """How work reports where it stands and learns what the user wants; both return at once."""

    def report(self, progress: JobProgress) -> None: ...

    def control(self) -> JobControl: ...


def raise_if_stopped(reporter: JobReporter) -> None:
    """Raise JobPaused or JobCancelled when the user, or the worker's end, wants the work to stop."""
    match reporter.control():
        case JobControl.PAUSE:
            raise JobPaused
        case JobControl.CANCEL:
            raise JobCancelled
