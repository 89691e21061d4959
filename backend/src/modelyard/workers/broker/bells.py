"""Named pipes that wake who waits for messages in a folder, so that nobody has to look into it many times a second."""

import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

_READ_BYTES = 65_536
"""More than a pipe holds."""


def ring(folder: Path, queue: str) -> None:
    """Wake who waits for messages of a queue on this host; does nothing where nobody does."""
    try:
        bell = os.open(_path(folder, queue), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody ever waited, or does now
        return
    try:
        os.write(bell, b"!")
    except BlockingIOError:  # it was rung often, and nobody has looked since
        pass
    finally:
        os.close(bell)


class Bells:
    """The bells of some queues. What rings after `listen` ends the next `wait`, even if it rang before that began."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int | None] = {}

    def listen(self, queues: Iterable[str]) -> None:
        """Listen to the bells of these queues from now on. Not every filesystem has them; then none of these rings."""
        for queue in queues:
            if queue not in self._held:
                self._held[queue] = self._open(queue)

    def wait(self, seconds: float) -> None:
        """Wait until a bell rings, at most so long."""
        bells = [bell for bell in self._held.values() if bell is not None]
        if not bells:
            time.sleep(seconds)
            return
        poll = select.poll()
        for bell in bells:
            poll.register(bell, select.POLLIN)
        for bell, _ in poll.poll(seconds * 1000):
            with suppress(BlockingIOError):  # another process that listens was faster
                os.read(bell, _READ_BYTES)

    def close(self) -> None:
        """Listen to none any more."""
        for bell in self._held.values():
            if bell is not None:
                os.close(bell)
        self._held.clear()

    def _open(self, queue: str) -> int | None:
        path = _path(self._folder, queue)
        try:
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # Open for writing too: without a writer it would be at its end, which wakes as well.
            return os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            return None


def _path(folder: Path, queue: str) -> Path:
    return folder / quote(queue, safe="")
