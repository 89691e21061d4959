"""The log file of a child process, which receives its output and is rotated."""

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
    """A file that a process and its children append to. The previous one is kept beside it as `.log.1`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def open(self) -> IO[bytes]:
        """Open the file for a process that is about to start. Raises OSError."""
        self.rotate()
        log = open_private(self.path, "ab")
        self._offset = log.tell()
        return log

    def rotate(self) -> None:
        """Rotate the file if it is large. Raises OSError.

        Processes keep the file open and continue to write to it, so it is copied and then emptied. A line that is
        written between the two is lost.
        """
        if not self.path.exists() or self.path.stat().st_size <= LOG_BYTES:
            return
        with self.path.open("rb") as log, open_private(self.path.with_suffix(".log.1"), "wb") as aside:
            shutil.copyfileobj(log, aside)
        os.truncate(self.path, 0)
        self._offset = 0

    def last_line(self) -> str:
        """Return the last line that the process wrote: the message of an exception, or of an error."""
        with self.path.open("rb") as log:
            log.seek(max(self._offset, self.path.stat().st_size - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:400] for line in reversed(lines) if line.strip()), "it said nothing")
