"""Lines of the log that a client can have written as often as it likes."""

import logging
import threading

SECONDS = 60.0
BURST = 5
"""Lines of one kind that are written within SECONDS; the others are counted."""

logger = logging.getLogger(__name__)


class RepeatedLines(logging.Filter):
    """Lets BURST lines of each kind pass within SECONDS, and then writes how many more there were.

    Lines are of one kind if they differ only in their arguments.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._is_counting = False

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            if not self._is_counting:
                self._is_counting = True
                timer = threading.Timer(SECONDS, self._write_counts)
                timer.daemon = True
                timer.start()
            kind = str(record.msg)
            self._counts[kind] = self._counts.get(kind, 0) + 1
            return self._counts[kind] <= BURST

    def _write_counts(self) -> None:
        with self._lock:
            counts, self._counts, self._is_counting = self._counts, {}, False
        for kind, count in counts.items():
            if count > BURST:
                logger.warning("%d more lines like this within %d s: %s", count - BURST, SECONDS, kind)


def limit_repeated_lines(*names: str) -> None:
    """Have these loggers write no more than `RepeatedLines` lets pass."""
    for name in names:
        logging.getLogger(name).addFilter(RepeatedLines())
