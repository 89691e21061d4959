"""A lock that is given to whoever has waited longest."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TURN_SECONDS = 0.05
"""How often one who waits asks whether the work is still wanted."""


class FairLock:
    """First come, first served: one who takes it again at once does not keep others out, as with `threading.Lock`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[object] = deque()
        self._held = False

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock, at most `timeout` seconds; False where it was not to be had."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            is_ours = self._changed.wait_for(lambda: not self._held and self._line[0] is ticket, timeout)
            self._line.remove(ticket)
            self._held = self._held or is_ours
            self._changed.notify_all()
            return is_ours

    def release(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


@contextmanager
def turn(lock: FairLock, should_stop: Callable[[], bool]) -> Iterator[bool]:
    """Hold a loaded model's lock, or give False where `should_stop` said so before it was free."""
    while not lock.acquire(timeout=TURN_SECONDS):
        if should_stop():
            yield False
            return
    try:
        yield True
    finally:
        lock.release()
