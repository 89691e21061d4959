"""Reports how far a download is: bytes, rate, time left, and what it waits for."""

import threading
import time
from collections import deque
from dataclasses import dataclass

from modelyard.core import units
from modelyard.hub.download.blocks import BLOCK_BYTES
from modelyard.hub.download.scheduler import CLAIM_BLOCKS, Content, Scheduler, State

REPORT_SECONDS = 0.25
RATE_WINDOW_SECONDS = 5.0
STABLE_SECONDS = 3.0


@dataclass(frozen=True)
class TransferProgress:
    """`phase` is downloading, verifying or retrying. `bytes_done` never falls within one call.

    `bytes_moved` came over the network in this call; what was on the disk before is not in it.
    """

    phase: str
    bytes_done: int
    bytes_moved: int
    bytes_total: int
    bytes_per_second: float
    eta_seconds: float | None
    files_done: int
    files_total: int
    message: str | None


class Meter:
    """Counts bytes of the network; the rate covers the last seconds and falls to 0 when nothing comes."""

    def __init__(self) -> None:
        self.total = 0
        self._started = time.monotonic()
        self._last = self._started
        self._flowing_since: float | None = None
        self._samples: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            if self._flowing_since is None or now - self._last >= RATE_WINDOW_SECONDS:
                self._flowing_since = now
            self.total += count
            self._last = now

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._last

    @property
    def flowing_seconds(self) -> float:
        """For how long bytes came without a long break."""
        return 0.0 if self._flowing_since is None else self._last - self._flowing_since

    def bytes_per_second(self) -> float:
        now = time.monotonic()
        with self._lock:
            self._samples.append((now, self.total))
            while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_WINDOW_SECONDS:
                self._samples.popleft()
            then, count = self._samples[0]
            return (self.total - count) / max(now - then, REPORT_SECONDS)


class Reporter:
    """Sums up the contents of one download and the meter of its connections."""

    def __init__(self, scheduler: Scheduler, meter: Meter) -> None:
        self._scheduler = scheduler
        self._meter = meter
        self._bytes_total = sum(file.size_bytes for content in scheduler.contents for file in content.files)
        self._files_total = sum(len(content.files) for content in scheduler.contents)
        self._bytes_reported = 0

    def progress(self) -> TransferProgress:
        with self._scheduler.lock:
            contents = self._scheduler.contents
            done = sum(content.bytes_done * len(content.files) for content in contents)
            finished = [content for content in contents if content.state is State.DONE]
            phase, message = self._phase()
        self._bytes_reported = max(self._bytes_reported, min(done, self._bytes_total))
        rate = self._meter.bytes_per_second()
        remaining = self._scheduler.missing_bytes()
        stable = self._meter.flowing_seconds >= STABLE_SECONDS and rate > 0
        return TransferProgress(
            phase=phase,
            bytes_done=self._bytes_reported,
            bytes_moved=self._meter.total,
            bytes_total=self._bytes_total,
            bytes_per_second=rate,
            eta_seconds=remaining / rate if stable else None,
            files_done=sum(len(content.files) for content in finished),
            files_total=self._files_total,
            message=message,
        )

    def _phase(self) -> tuple[str, str | None]:
        """Return the phase, and what the download waits for or suffers from, if anything."""
        now, scheduler = time.monotonic(), self._scheduler
        unfetched = [content for content in scheduler.contents if _is_unfetched(content)]
        if not unfetched:
            return "verifying", None
        waiting = [content for content in unfetched if content.failures and now < content.not_before]
        flowing = any(content.streams or content.state is State.OPENING for content in unfetched)
        if waiting or now < scheduler.hub_not_before:
            until = max([scheduler.hub_not_before, *(content.not_before for content in waiting)])
            message = f"retrying in {max(1, round(until - now))} s ({scheduler.retry_reason})"
            return "downloading" if flowing else "retrying", message
        if all(content.busy_elsewhere for content in unfetched):
            return "downloading", "waiting for another process that fetches the same files"
        silent = self._meter.silent_seconds
        if silent >= RATE_WINDOW_SECONDS:
            return "downloading", f"stalled for {round(silent)} s"
        for content in unfetched:
            if content.is_oversized and content.resolved is not None and content.resolved.xet is None:
                return "downloading", (
                    f"{content.file.path} ({units.size(content.file.size_bytes)}) comes without Xet, in ranges of "
                    f"{CLAIM_BLOCKS * BLOCK_BYTES / 1e6:.0f} MB, which some storage networks refuse"
                )
        return "downloading", None


def _is_unfetched(content: Content) -> bool:
    if content.state is State.ACTIVE:
        return content.part is not None and not content.part.is_complete
    return content.state in (State.PENDING, State.OPENING)
