"""Decides which connection works on which file's blocks, and keeps the state of every file of one download."""

import enum
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import constants

from modelyard.hub.download import blocks
from modelyard.hub.download.blocks import Claim
from modelyard.hub.download.part_file import PartClosed, PartialFile
from modelyard.hub.download.transport import ResolvedFile
from modelyard.hub.names import RemoteFile
from modelyard.hub.retry import RetryPolicy, Transient

CLAIM_BLOCKS = 16
TICK_SECONDS = 0.1
# Connections share a file only where one would take longer than this for the rest: what a second one brings is out of
# order, and has to be read back to be hashed. The rate counts once it was measured for the time below.
SHARE_SECONDS = 5.0
MEASURE_SECONDS = 0.25
# What counts as progress between two failures; a server that sends less than this each time is not alive.
GAIN_BYTES = 1 << 20


class State(enum.Enum):
    CHECKING = "on disk, hash not verified yet"
    PENDING = "waiting for a connection"
    OPENING = "a connection asks the Hub for it"
    ACTIVE = "being fetched"
    DONE = "verified and linked"


class Content:
    """One blob to fetch and the files of the snapshot that consist of it."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self.files = [file]
        self.state = State.PENDING
        self.part: PartialFile | None = None
        self.resolved: ResolvedFile | None = None
        self.resolved_at = 0.0
        self.streams = 0
        self.fetched_since: float | None = None
        self.is_shared = False
        self.busy_elsewhere = False
        self.replaces_damaged = False
        self.wrong_hashes = 0
        self.short_answers = 0
        self.hash_queued = False
        self.failures = 0
        self.not_before = 0.0
        self.received = 0
        self.received_at_failure = 0

    @property
    def is_oversized(self) -> bool:
        """Return whether huggingface_hub would not fetch it over plain HTTP."""
        return self.file.size_bytes > constants.MAX_HTTP_DOWNLOAD_SIZE

    @property
    def bytes_done(self) -> int:
        if self.state in (State.DONE, State.CHECKING):
            return self.file.size_bytes
        return self.part.filled_bytes if self.part else 0


def contents_of(files: Sequence[RemoteFile]) -> list[Content]:
    """Group the files of a snapshot by their blob."""
    by_blob: dict[str, Content] = {}
    for file in files:
        if file.blob in by_blob:
            by_blob[file.blob].files.append(file)
        else:
            by_blob[file.blob] = Content(file)
    return list(by_blob.values())


@dataclass(frozen=True)
class Task:
    """Work for one connection: fetch the blocks of `claim`, or ask the Hub for the content when it is None."""

    content: Content
    claim: Claim | None


class Scheduler:
    """The contents of one download and who works on them.

    `lock` guards the contents' states. Threads wait on it for work, and the caller of the download for changes.
    """

    def __init__(self, contents: Sequence[Content], *, policy: RetryPolicy, connections: int) -> None:
        self.contents = contents
        self.connections = connections
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.report_due = True
        self.retry_reason = ""
        self.hub_not_before = 0.0
        self.lock = threading.Condition()
        self._policy = policy

    # What a connection does: take a task, end it, or postpone its content after a failure

    def next_task(self, number: int) -> Task | None:
        """Wait for work for the connection of this number (from 0); None when the connection has to end."""
        with self.lock:
            while number < self.connections and not self.stop.is_set() and not self.is_finished():
                if task := self._choose():
                    return task
                self.lock.wait(TICK_SECONDS)
            return None

    def end_task(self, task: Task) -> None:
        with self.changing():
            if task.claim is not None:
                task.content.streams -= 1
            elif task.content.state is State.OPENING:
                task.content.state = State.PENDING

    def postpone(self, content: Content, failure: Transient) -> None:
        """Let a content rest after a failure. Raises the failure's final error once nothing was gained for too long."""
        now = time.monotonic()
        with self.changing():
            if self.stop.is_set():
                return
            if content.received - content.received_at_failure >= GAIN_BYTES:
                content.failures = 0
            if now >= content.not_before:  # else: another connection met the same failure a moment ago
                content.failures += 1
                content.received_at_failure = content.received
                seconds = self._policy.wait_seconds(content.failures, failure.retry_after_seconds)
                content.not_before = now + seconds
                if failure.retry_after_seconds is not None:
                    self.hub_not_before = max(self.hub_not_before, now + seconds)
            self.retry_reason = failure.reason
            self.report_due = True
            if content.state is State.ACTIVE and content.streams == 1:
                # Ask the Hub again before going on: the content may have moved or changed.
                content.state = State.PENDING
            given_up = content.failures >= self._policy.attempts
        if given_up:
            raise failure.final(
                f"{content.file.path!r} could not be fetched: {failure.reason} "
                f"({content.failures} attempts in a row without progress).",
                hint=failure.hint,
            ) from failure

    def _choose(self) -> Task | None:
        """Choose the next work: files that nobody fetches come first; only then do connections share a file."""
        now = time.monotonic()
        if self.stop.is_set() or now < self.hub_not_before:
            return None
        ready = [content for content in self.contents if now >= content.not_before]
        active = [content for content in ready if content.state is State.ACTIVE]
        pending = [content for content in ready if content.state is State.PENDING]
        for content in active:
            if content.streams == 0 and (claim := self._claim(content, now, alone=bool(pending))):
                return Task(content, claim)
        if pending:
            pending[0].state = State.OPENING
            return Task(pending[0], None)
        for content in sorted(active, key=lambda content: content.streams):
            if self._takes_long(content, now) and (claim := self._claim(content, now)):
                return Task(content, claim)
        return None

    def _claim(self, content: Content, now: float, *, alone: bool = False) -> Claim | None:
        if content.part is None or content.resolved is None:
            return None
        count = CLAIM_BLOCKS
        if not alone and self._takes_long(content, now) is not False:
            # Smaller and smaller pieces towards the end, so that all connections finish together.
            count = max(1, min(count, content.part.unclaimed_blocks() // (2 * self.connections)))
        claim = content.part.claim(count)
        if claim is not None:
            content.streams += 1
            if content.fetched_since is None:
                content.fetched_since = now
        return claim

    def _takes_long(self, content: Content, now: float) -> bool | None:
        """Return whether connections may share a file, which they then do to its end; None while it is unknown."""
        if content.is_shared:
            return True
        if content.part is None or content.fetched_since is None or now - content.fetched_since <= MEASURE_SECONDS:
            return None
        rate = content.received / (now - content.fetched_since)
        content.is_shared = content.part.unclaimed_blocks() * blocks.BLOCK_BYTES > rate * SHARE_SECONDS
        return content.is_shared

    # What all threads of the download share

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock while states change; whoever waits looks again afterwards."""
        with self.lock:
            yield
            self.lock.notify_all()

    def start(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Run `target` in a thread; an error that it raises ends the download."""

        def run() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - carried to the calling thread, which raises it
                self.fail(error)  # (a closed part, when stopping, is how threads are told; `fail` ignores it then)

        # Daemons: one that waits for a dead server must not keep a process alive that was asked to end.
        thread = threading.Thread(target=run, name=f"fetch-{name}", daemon=True)
        thread.start()
        return thread

    def fail(self, error: BaseException) -> None:
        """End the download with the first error; those that come after it or after a stop are its consequences."""
        with self.changing():
            if self.error is None and not self.stop.is_set():
                self.error = error
        self.stop.set()

    @contextmanager
    def ending_all(self) -> Iterator[None]:
        """Report an error that ends the download, before what failed is free for another connection to repeat."""
        try:
            yield
        except (Transient, PartClosed):
            raise
        except BaseException as error:
            self.fail(error)
            raise

    # What the caller of the download asks

    def wait(self) -> bool:
        """Wait for a change, for a tick at most; returns False, at once, when the download has ended."""
        with self.lock:
            if self.error is not None or self.is_finished():
                return False
            self.lock.wait(TICK_SECONDS)
            return True

    def halt(self) -> None:
        """Tell all threads to end."""
        self.stop.set()
        with self.lock:
            self.lock.notify_all()

    def missing_bytes(self) -> int:
        return sum(content.file.size_bytes - content.bytes_done for content in self.contents)

    def is_finished(self) -> bool:
        return all(content.state is State.DONE for content in self.contents)
