"""The log of a training run: what its process wrote, in the run's folder."""

from pathlib import Path

from modelyard.core.database import utc_now
from modelyard.core.private_files import open_private
from modelyard.core.settings import get_settings
from modelyard.schemas.training import TrainingLog

MOST_BYTES = 65_536
"""Of one answer: several hundred lines."""


def log_file(training_id: str) -> Path:
    return get_settings().trainings_folder / training_id / "log.txt"


def append(training_id: str, message: str) -> None:
    """Add what a process could not write about itself."""
    with open_private(log_file(training_id), "a", encoding="utf-8") as log:
        log.write(f"{utc_now():%Y-%m-%dT%H:%M:%S}Z ERROR {message}\n")


def read(training_id: str, after: int = 0) -> TrainingLog:
    """Return the whole lines behind byte `after`, at most the last `MOST_BYTES` of them.

    Empty for a run that has not begun, and for one whose worker keeps its files on another machine.
    """
    try:
        with log_file(training_id).open("rb") as log:
            start = max(after, log.seek(0, 2) - MOST_BYTES)
            log.seek(start)
            found = log.read(MOST_BYTES)
    except FileNotFoundError:
        return TrainingLog(text="", position=0, skipped_bytes=0)
    first = found.find(b"\n") + 1 if start > after else 0
    lines = found[first : max(first, found.rfind(b"\n") + 1)]
    return TrainingLog(
        text=lines.decode(errors="replace"),
        position=start + first + len(lines),
        skipped_bytes=start + first - after,
    )
