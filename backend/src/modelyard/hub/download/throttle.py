"""Keeps downloads under a bandwidth limit: a process reserves a tenth of a second of it and spends that on its threads.

What several processes reserve from the same account adds up to the limit. A process that dies leaves nothing behind
but its last reservation, which passes by itself.
"""

import threading
import time
from collections.abc import Callable

from modelyard.hub.download.part_file import PartClosed

RESERVED_SECONDS = 0.1
"""Of the bandwidth in one reservation: ten a second in all, however many share it."""
IDLE_SECONDS = 0.2
"""So much unused bandwidth may be made up for, so that a late thread loses none."""
SMALLEST_BYTES = 16 << 10
POLL_SECONDS = 0.2

Reserve = Callable[[int, float], float]
"""Reserve bytes at a rate in bytes per second; returns in how many seconds they may be read."""


def next_slot(free_at: float, now: float, byte_count: int, rate: float) -> tuple[float, float]:
    """Place a reservation behind those before it; returns when it begins and when the next one may (in seconds)."""
    begins_at = max(free_at, now - IDLE_SECONDS)
    return begins_at, begins_at + byte_count / rate


class LocalAccount:
    """Reservations of one download alone."""

    def __init__(self) -> None:
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, byte_count: int, rate: float) -> float:
        with self._lock:
            now = time.monotonic()
            begins_at, self._free_at = next_slot(self._free_at, now, byte_count, rate)
        return max(0.0, begins_at - now)


class Throttle:
    """Shares reserved bytes among threads; `rate` (bytes per second, None for no limit) may change at any time."""

    def __init__(self, rate: int | None, reserve: Reserve | None = None) -> None:
        self.rate = rate
        self._reserve = reserve or LocalAccount()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reserving = threading.Lock()

    def take(self, wanted: int, stop: threading.Event) -> int:
        """Return how many bytes may be read now, at least one; waits for them.

        Raises PartClosed when stopped, and what the reservation raises.
        """
        while not stop.is_set():
            rate = self.rate
            if not rate:
                return wanted
            if granted := self._spend(wanted):
                return granted
            with self._reserving:
                if granted := self._spend(wanted):  # another thread reserved them meanwhile
                    return granted
                if not stop.is_set():
                    self._refill(rate, stop)
        raise PartClosed

    def refund(self, count: int) -> None:
        """Return bytes that were taken but not read."""
        if self.rate and count > 0:
            with self._lock:
                self._bytes += count

    def _spend(self, wanted: int) -> int:
        with self._lock:
            if self._bytes < min(wanted, SMALLEST_BYTES):
                return 0
            granted = min(wanted, self._bytes)
            self._bytes -= granted
            return granted

    def _refill(self, rate: int, stop: threading.Event) -> None:
        byte_count = max(int(rate * RESERVED_SECONDS), SMALLEST_BYTES)
        ready_at = time.monotonic() + self._reserve(byte_count, rate)
        while (left := ready_at - time.monotonic()) > 0:
            if self.rate != rate or stop.wait(min(left, POLL_SECONDS)):
                return
        with self._lock:
            self._bytes += byte_count
