"""Reading files of models from end to end, with progress, until somebody wants it to stop."""

import time
from collections.abc import Callable
from typing import Any, BinaryIO

from modelyard.hub.cache.hashing import HASH_CHUNK_BYTES
from modelyard.services.jobs.control import JobProgress, JobReporter, raise_if_stopped


class ReadProgress:
    """Progress of reading files, with a rate over the whole read so far; asks whether to stop.

    `before` is how many bytes of the total were done by an earlier attempt.
    """

    def __init__(self, reporter: JobReporter, phase: str, total: int, files: int, *, before: int = 0) -> None:
        self._reporter, self._phase, self._total, self._files = reporter, phase, total, files
        self._before = self._done = before
        self._files_done = 0
        self._began = time.monotonic()

    def add(self, size: int) -> None:
        """Raises JobPaused or JobCancelled when asked to stop."""
        self._done += size
        raise_if_stopped(self._reporter)
        self._report()

    def file_done(self) -> None:
        self._files_done += 1
        self._report()

    def _report(self) -> None:
        moved = self._done - self._before
        rate = moved / max(time.monotonic() - self._began, 0.001)
        self._reporter.report(
            JobProgress(
                phase=self._phase,
                bytes_done=self._done,
                bytes_moved=moved,
                bytes_total=self._total,
                bytes_per_second=rate,
                eta_seconds=(self._total - self._done) / rate if rate else None,
                files_done=self._files_done,
                files_total=self._files,
            )
        )


def hash_content(source: BinaryIO, hasher: Any, on_bytes: Callable[[int], None]) -> str:
    """Return the hash of a file's content; `on_bytes` hears of every chunk and may raise."""
    while chunk := source.read(HASH_CHUNK_BYTES):
        hasher.update(chunk)
        on_bytes(len(chunk))
    return str(hasher.hexdigest())
