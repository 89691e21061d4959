"""The log file of a child process: its output goes there, and what is old is put aside."""

import os
import shutil
from pathlib import Path
from typing import IO

from modelyard.core.private_files import open_private

LOG_BYTES = 10_000_000
"""The size from which a log is put aside."""
CHECK_SECONDS = 10.0
"""How often the sizes of the logs of running processes are looked at."""


class ChildLog:
    """A file that a process, and whatever it starts, appends to; the one before it is kept beside it as `.log.1`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def open(self) -> IO[bytes]:
        """Return the file for a process that is about to start. Raises OSError."""
        self.rotate()
        log = open_private(self.path, "ab")
        self._offset = log.tell()
        return log

    def rotate(self) -> None:
        """Put the content aside if there is much of it. Raises OSError.

        Processes that have the file open go on writing to it, so it is copied and emptied. A line that is written
        between the two is lost.
        """
        if not self.path.exists() or self.path.stat().st_size <= LOG_BYTES:
            return
        with self.path.open("rb") as log, open_private(self.path.with_suffix(".log.1"), "wb") as aside:
            shutil.copyfileobj(log, aside)
        os.truncate(self.path, 0)
        self._offset = 0

    def last_line(self) -> str:
        """Return the last line that the process wrote, which is what an exception or an error message says."""
        with self.path.open("rb") as log:
            log.seek(max(self._offset, self.path.stat().st_size - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:400] for line in reversed(lines) if line.strip()), "it said nothing")
