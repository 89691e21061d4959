"""Fetches a snapshot's files: many connections, resumable to the byte, published only after the hash matched.

Every request asks for at most `CLAIM_BLOCKS` blocks. Files above the size that huggingface_hub fetches over plain
HTTP (50 GB) come from Xet storage where the Hub offers it; else in such ranges too, which some storage networks refuse.
"""

import enum
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from huggingface_hub import constants

from modelyard.core import units
from modelyard.core.errors import ChecksumMismatch, HubMisbehaved, HubUnreachable
from modelyard.hub.cache.hub_cache import HubCache, has_hash
from modelyard.hub.download.part_file import BLOCK_BYTES, Claim, PartClosed, PartialFile
from modelyard.hub.download.throttle import Reserve, Throttle
from modelyard.hub.download.transport import Body, LocationExpired, ResolvedFile, Transport
from modelyard.hub.names import RemoteFile, validate_commit, validate_files, validate_repo_id
from modelyard.hub.retry import RetryPolicy, Transient

__all__ = [
    "Control",
    "FetchLimits",
    "FetchResult",
    "RemoteFile",
    "TransferCancelled",
    "TransferPaused",
    "TransferProgress",
    "fetch_snapshot",
]

CLAIM_BLOCKS = 16
# A read allocates what it asks for: little for a connection that brings little at a time (TLS: 16 kB), else more.
READ_BYTES = 256 << 10
FLUSH_BYTES = 1 << 20
HASH_THREADS = 2
TICK_SECONDS = 0.1
REPORT_SECONDS = 0.25
STOP_SECONDS = 0.5
RATE_WINDOW_SECONDS = 5.0
STABLE_SECONDS = 3.0
# What counts as progress between two failures; a server that sends less than this each time is not alive.
GAIN_BYTES = 1 << 20
LOCATION_SECONDS = 60.0
DISK_CHECK_SECONDS = 5.0
SHORT_ANSWERS = 3
"""How many answers in a row may end, by their own Content-Length, before the end of what was asked for."""


class Control(enum.Enum):
    """What the owner of a running download wants of it."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class TransferPaused(Exception):
    """The download stopped on request; what was fetched is kept."""


class TransferCancelled(Exception):
    """The download stopped on request and its unfinished files are removed (finished ones are not)."""

    def __init__(self, freed_bytes: int) -> None:
        super().__init__(f"cancelled, {freed_bytes} bytes of unfinished files removed")
        self.freed_bytes = freed_bytes


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


@dataclass(frozen=True)
class FetchLimits:
    """`connections` and the bandwidth may change while a download runs; the rest is read when it starts."""

    connections: int = 8
    bandwidth_bytes_per_second: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    connect_timeout_seconds: float = 10.0
    stall_seconds: float = 20.0
    minimum_bytes_per_second: float = 10_000.0
    minimum_rate_seconds: float = 30.0
    disk_reserve_bytes: int = 500_000_000


@dataclass(frozen=True)
class FetchResult:
    """Bytes that came over the network, and bytes of the snapshot that were already on disk."""

    bytes_transferred: int
    bytes_reused: int


def fetch_snapshot(
    *,
    endpoint: str,
    repo_id: str,
    commit: str,
    files: Sequence[RemoteFile],
    store: HubCache,
    token: str | Literal[False],
    limits: Callable[[], FetchLimits],
    on_progress: Callable[[TransferProgress], None],
    control: Callable[[], Control],
    reserve: Reserve | None = None,
) -> FetchResult:
    """Bring `files` of one commit into the cache, verified; blocks until they are all there.

    `limits` and `control` are called a few times a second, `on_progress` about four times a second, all from
    the calling thread; what they raise ends the download as a pause does. Files already in the cache are
    hashed once and then only linked. A file that another process fetches is waited for, not fetched twice.
    `reserve` shares the bandwidth with other downloads; without it the limit holds for this one alone.

    Raises TransferPaused, TransferCancelled, HubMisbehaved, HubUnreachable, HubRateLimited, GatedNoToken,
    GatedNotAccepted, TokenInvalid, ChecksumMismatch, DiskFull, StorageDenied or Conflict. After any of them the
    verified and unfinished bytes stay for the next call (cancelling removes the unfinished ones).
    """
    validate_repo_id(repo_id)
    validate_commit(commit)
    validate_files(files)
    store.prepare(repo_id)
    download = _Download(endpoint, repo_id, commit, files, store, token, limits(), reserve)
    return download.run(limits, on_progress, control)


class _State(enum.Enum):
    CHECKING = "on disk, hash not verified yet"
    PENDING = "waiting for a connection"
    OPENING = "a connection asks the Hub for it"
    ACTIVE = "being fetched"
    DONE = "verified and linked"


class _Content:
    """One blob to fetch and the files of the snapshot that consist of it."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self.files = [file]
        self.state = _State.PENDING
        self.part: PartialFile | None = None
        self.resolved: ResolvedFile | None = None
        self.resolved_at = 0.0
        self.streams = 0
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
        """Whether huggingface_hub would not fetch it over plain HTTP."""
        return self.file.size_bytes > constants.MAX_HTTP_DOWNLOAD_SIZE

    @property
    def bytes_done(self) -> int:
        if self.state in (_State.DONE, _State.CHECKING):
            return self.file.size_bytes
        return self.part.filled_bytes if self.part else 0


class _Download:
    """One call of fetch_snapshot. `_wake` guards the contents' states; worker threads wait on it for work."""

    def __init__(
        self,
        endpoint: str,
        repo_id: str,
        commit: str,
        files: Sequence[RemoteFile],
        store: HubCache,
        token: str | Literal[False],
        limits: FetchLimits,
        reserve: Reserve | None,
    ) -> None:
        self._repo_id = repo_id
        self._commit = commit
        self._store = store
        self._limits = limits
        self._connections = limits.connections
        self._transport = Transport(
            endpoint=endpoint,
            repo_id=repo_id,
            commit=commit,
            token=token,
            connect_timeout_seconds=limits.connect_timeout_seconds,
            stall_seconds=limits.stall_seconds,
            connections=limits.connections,
        )
        by_blob: dict[str, _Content] = {}
        for file in files:
            if file.blob in by_blob:
                by_blob[file.blob].files.append(file)
            else:
                by_blob[file.blob] = _Content(file)
        self._contents = list(by_blob.values())
        self._bytes_total = sum(file.size_bytes for file in files)
        self._files_total = len(files)
        self._bytes_reported = 0
        self._report_due = True
        self._wake = threading.Condition()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._bodies: set[Body] = set()
        self._workers: list[threading.Thread] = []
        self._hashers: list[threading.Thread] = []
        self._to_hash: queue.SimpleQueue[_Content | None] = queue.SimpleQueue()
        self._retry_reason = ""
        self._hub_not_before = 0.0
        self._throttle = Throttle(limits.bandwidth_bytes_per_second, reserve)
        self._meter = _Meter()

    def run(
        self,
        limits: Callable[[], FetchLimits],
        on_progress: Callable[[TransferProgress], None],
        control: Callable[[], Control],
    ) -> FetchResult:
        wanted = Control.RUN
        try:
            reused = self._take_stock()
            self._check_disk(self._limits.disk_reserve_bytes)
            self._hashers = [self._start(self._hash_loop, f"hash-{n}") for n in range(HASH_THREADS)]
            next_report = next_disk_check = 0.0  # on the clock of time.monotonic
            while True:
                now = time.monotonic()
                if now >= next_report or self._report_due:
                    self._report_due = False
                    next_report = now + REPORT_SECONDS
                    wanted = control()
                    if wanted is not Control.RUN:
                        break
                    self._apply(limits())
                    on_progress(self._progress())
                if now >= next_disk_check:
                    next_disk_check = now + DISK_CHECK_SECONDS
                    self._check_disk_while_running()
                with self._wake:
                    if self._error is not None or self._is_finished():
                        break
                    self._wake.wait(TICK_SECONDS)
        finally:
            self._halt()
            if wanted is not Control.CANCEL:
                self._keep_parts()
        if wanted is Control.CANCEL:
            raise TransferCancelled(self._discard_parts())
        if self._error is not None:
            raise self._error
        on_progress(self._progress())  # what came since the last report, before a pause as well
        if wanted is Control.PAUSE:
            raise TransferPaused
        return FetchResult(bytes_transferred=self._meter.total, bytes_reused=reused)

    # What is there, and what is missing

    def _take_stock(self) -> int:
        """Look at the cache and the unfinished files; returns the bytes that need not be fetched."""
        reused = 0
        for content in self._contents:
            if not self._is_here(content):
                # Only what was begun: a part holds a descriptor, and a snapshot may have thousands of files.
                if self._store.part_path(self._repo_id, content.file.blob).exists():
                    content.part = PartialFile.open(self._store, self._repo_id, content.file)
                    content.busy_elsewhere = content.part is None
                    reused += content.bytes_done * len(content.files)
                continue
            reused += content.file.size_bytes * len(content.files)
            self._store.remove_stale_journal(self._repo_id, content.file.blob)
            if self._store.is_marked_verified(self._repo_id, content.file):
                self._complete(content)
            else:
                content.state = _State.CHECKING
                self._to_hash.put(content)
        return reused

    def _is_here(self, content: _Content) -> bool:
        """Whether the cache holds it, as a blob or as the files of the snapshot themselves."""
        store = self._store
        return store.has_blob(self._repo_id, content.file) or store.holds_copies(
            self._repo_id, self._commit, content.files
        )

    def _places(self, content: _Content) -> list[Path]:
        """Where content that is here lies."""
        if self._store.has_blob(self._repo_id, content.file):
            return [self._store.blob_path(self._repo_id, content.file.blob)]
        return [self._store.snapshot_path(self._repo_id, self._commit) / file.path for file in content.files]

    def _missing_bytes(self) -> int:
        return sum(content.file.size_bytes - content.bytes_done for content in self._contents)

    def _check_disk(self, reserve_bytes: int) -> None:
        if self._missing_bytes():
            taken = sum(content.part.allocated_bytes for content in self._contents if content.part)
            pending = sum(content.file.size_bytes for content in self._contents if content.state is _State.PENDING)
            self._store.ensure_free(max(0, pending - taken), reserve_bytes=reserve_bytes)

    def _check_disk_while_running(self) -> None:
        # Others write to this disk too: stop while there is still room for them, not at the last byte.
        if self._missing_bytes():
            self._store.ensure_free(0, reserve_bytes=self._limits.disk_reserve_bytes // 2)

    def _is_finished(self) -> bool:
        return all(content.state is _State.DONE for content in self._contents)

    # Threads

    def _start(self, target: Callable[[], None], name: str) -> threading.Thread:
        # Daemons: one that waits for a dead server must not keep a process alive that was asked to end.
        thread = threading.Thread(target=self._guarded, args=(target,), name=f"fetch-{name}", daemon=True)
        thread.start()
        return thread

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - carried to the calling thread, which raises it
            self._fail(error)  # (a closed part, when stopping, is how threads are told; _fail ignores it then)

    def _fail(self, error: BaseException) -> None:
        with self._wake:
            if self._error is None and not self._stop.is_set():
                self._error = error
            self._wake.notify_all()
        self._stop.set()

    @contextmanager
    def _ending_all(self) -> Iterator[None]:
        """Report an error that ends the download, before what failed is free for another connection to repeat."""
        try:
            yield
        except (Transient, PartClosed):
            raise
        except BaseException as error:
            self._fail(error)
            raise

    def _apply(self, limits: FetchLimits) -> None:
        self._throttle.rate = limits.bandwidth_bytes_per_second
        self._connections = max(1, limits.connections)
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        open_contents = any(content.state is not _State.DONE for content in self._contents)
        while open_contents and len(self._workers) < self._connections:
            self._workers.append(self._start(self._work_loop, f"connection-{len(self._workers)}"))

    def _halt(self) -> None:
        """Stop all threads. Those stuck in a call to a silent server are left behind; they own no file."""
        self._stop.set()
        with self._wake:
            bodies = list(self._bodies)
            self._wake.notify_all()
        for body in bodies:
            body.interrupt()
        for _ in self._hashers:
            self._to_hash.put(None)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._workers + self._hashers:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._transport.close()

    def _keep_parts(self) -> None:
        # All of them, even if the journal of one cannot be written: a part left open stays locked.
        with ExitStack() as stack:
            for content in self._contents:
                if content.part is None or content.state is _State.DONE:
                    continue
                stack.callback(content.part.close if content.part.filled_bytes else content.part.discard)

    def _discard_parts(self) -> int:
        freed: list[int] = []

        def discard(part: PartialFile) -> None:
            freed.append(part.discard())

        with ExitStack() as stack:  # as above
            for content in self._contents:
                if content.part is not None and content.state is not _State.DONE:
                    stack.callback(discard, content.part)
        return sum(freed) + self._store.remove_partials(
            self._repo_id, [content.file.blob for content in self._contents]
        )

    # Connections

    def _work_loop(self) -> None:
        while True:
            with self._wake:
                task = self._next_task()
                while task is None:
                    if self._stop.is_set() or self._is_finished() or self._too_many_workers():
                        return
                    self._wake.wait(TICK_SECONDS)
                    task = self._next_task()
            content, claim = task
            try:
                if claim is None:
                    with self._ending_all():
                        self._open(content)
                else:
                    self._fetch(content, claim)
            except Transient as failure:
                self._postpone(content, failure)
            except PartClosed:
                continue
            finally:
                with self._wake:
                    if claim is None and content.state is _State.OPENING:
                        content.state = _State.PENDING
                    elif claim is not None:
                        content.streams -= 1
                    self._wake.notify_all()

    def _too_many_workers(self) -> bool:
        return threading.current_thread() in self._workers[self._connections :]

    def _next_task(self) -> tuple[_Content, Claim | None] | None:
        """Files that nobody fetches come first; only then do connections share a file."""
        now = time.monotonic()
        if self._stop.is_set() or now < self._hub_not_before:
            return None
        ready = [content for content in self._contents if now >= content.not_before]
        active = [content for content in ready if content.state is _State.ACTIVE]
        pending = [content for content in ready if content.state is _State.PENDING]
        for content in active:
            if content.streams == 0 and (claim := self._claim(content, sharing=not pending)):
                return content, claim
        if pending:
            pending[0].state = _State.OPENING
            return pending[0], None
        for content in sorted(active, key=lambda content: content.streams):
            if claim := self._claim(content, sharing=True):
                return content, claim
        return None

    def _claim(self, content: _Content, *, sharing: bool) -> Claim | None:
        if content.part is None or content.resolved is None:
            return None
        blocks = CLAIM_BLOCKS
        if sharing:
            # Smaller and smaller pieces towards the end, so that all connections finish together.
            blocks = max(1, min(blocks, content.part.unclaimed_blocks() // (2 * self._connections)))
        claim = content.part.claim(blocks)
        if claim is not None:
            content.streams += 1
        return claim

    def _open(self, content: _Content) -> None:
        """Own the file, check with the Hub that it is still what was listed, and put it up for fetching."""
        if content.part is None:
            content.part = PartialFile.open(self._store, self._repo_id, content.file)
            if content.part is None:
                content.busy_elsewhere = True
                content.not_before = time.monotonic() + REPORT_SECONDS
                return
            content.busy_elsewhere = False
        if self._store.has_blob(self._repo_id, content.file) and not content.replaces_damaged:
            # Another process published it while this one waited.
            content.part.discard()
            content.part = None
            content.state = _State.CHECKING
            self._to_hash.put(content)
            return
        self._resolve(content)
        with self._wake:
            if content.state is not _State.OPENING:
                return
            content.state = _State.ACTIVE
            self._wake.notify_all()
        self._queue_hash(content)

    def _resolve(self, content: _Content) -> None:
        file = content.file
        resolved = self._transport.resolve(file.path)
        if resolved.commit is not None and resolved.commit != self._commit:
            raise HubMisbehaved(f"The Hub answers {file.path!r} from commit {resolved.commit}, not {self._commit}.")
        if resolved.size_bytes is not None and resolved.size_bytes != file.size_bytes:
            raise HubMisbehaved(
                f"The Hub lists {file.path!r} with {file.size_bytes} bytes, but serves {resolved.size_bytes}."
            )
        if resolved.etag and len(resolved.etag) == len(file.blob) and resolved.etag != file.blob:
            raise HubMisbehaved(f"The content of {file.path!r} changed on the Hub although its commit did not.")
        part = content.part
        if part is None or self._stop.is_set():
            raise PartClosed
        part.accept_etag(resolved.etag)
        content.resolved, content.resolved_at = resolved, time.monotonic()

    def _fetch(self, content: _Content, claim: Claim) -> None:
        part, resolved = content.part, content.resolved
        if part is None or resolved is None:
            raise PartClosed
        body = None
        try:
            with self._ending_all():
                try:
                    body = self._open_body(content, part, resolved, claim)
                except LocationExpired as refusal:
                    self._refresh_location(content, refusal)
                    return
                with body:
                    self._register(body)
                    rest = part.claim_rest() if body.range_ignored else claim
                    if rest is None:
                        return
                    claim = rest
                    self._stream(content, part, claim, body)
        finally:
            if body is not None:
                with self._wake:
                    self._bodies.discard(body)
            part.release(claim)

    def _open_body(self, content: _Content, part: PartialFile, resolved: ResolvedFile, claim: Claim) -> Body:
        start, stop = claim.position, claim.stop
        if content.is_oversized and resolved.xet is not None:
            return self._transport.open_xet(resolved.xet, start=start, stop=stop, size_bytes=part.size_bytes)
        return self._transport.open(resolved.location, start=start, stop=stop, size_bytes=part.size_bytes)

    def _refresh_location(self, content: _Content, refusal: LocationExpired) -> None:
        # Signed locations end after a while; one that was refused when new will be refused again.
        if time.monotonic() - content.resolved_at < LOCATION_SECONDS:
            raise HubMisbehaved(f"The storage behind the Hub refused {content.file.path!r}: {refusal}.")
        self._resolve(content)

    def _register(self, body: Body) -> None:
        with self._wake:
            if self._stop.is_set():
                raise PartClosed
            self._bodies.add(body)

    def _stream(self, content: _Content, part: PartialFile, claim: Claim, body: Body) -> None:
        watchdog = _Watchdog(self._limits)
        skip = claim.position - body.offset
        chunks: list[bytes | memoryview] = []
        gathered = received = 0
        flushed_at = time.monotonic()
        try:
            while (missing := claim.stop - claim.position - gathered) > 0:
                wanted = FLUSH_BYTES if received >= READ_BYTES else READ_BYTES
                allowed = self._throttle.take(min(wanted, skip + missing), self._stop)
                watchdog.start_read()
                data = body.read(allowed)
                self._throttle.refund(allowed - len(data))
                if not data:
                    raise self._cut_short(content, body, claim.position + gathered)
                received = len(data)
                content.received += received
                self._meter.add(received)
                if skip:
                    dropped = min(skip, received)
                    skip -= dropped
                    data = data[dropped:]
                if data:
                    chunks.append(data)
                    gathered += len(data)
                now = time.monotonic()
                if gathered >= FLUSH_BYTES or (gathered and now - flushed_at >= REPORT_SECONDS):
                    part.write(claim, chunks)
                    chunks, gathered, flushed_at = [], 0, now
                    self._queue_hash(content)
                if not body.has_own_timeouts:
                    watchdog.end_read(received, now)
            content.short_answers = 0
        finally:
            if chunks:
                part.write(claim, chunks)
                self._queue_hash(content)

    def _cut_short(self, content: _Content, body: Body, position: int) -> Exception:
        if self._stop.is_set():
            return PartClosed()
        if body.announced_bytes is None or position != body.offset + body.announced_bytes:
            return Transient("connection closed early", final=HubUnreachable)
        content.short_answers += 1
        if content.short_answers >= SHORT_ANSWERS:
            # However much each of them brings: the whole would take as many answers as it has such pieces.
            return HubMisbehaved(
                f"The Hub answers {content.file.path!r} with fewer bytes than asked for, "
                f"{SHORT_ANSWERS} times in a row."
            )
        return Transient("the Hub sent fewer bytes than asked for", final=HubMisbehaved)

    # Failures

    def _postpone(self, content: _Content, failure: Transient) -> None:
        """Let a content rest after a failure; ends the download once nothing was gained for too long."""
        now = time.monotonic()
        policy = self._limits.retry
        with self._wake:
            if self._stop.is_set():
                return
            if content.received - content.received_at_failure >= GAIN_BYTES:
                content.failures = 0
            if now >= content.not_before:  # else: another connection met the same failure a moment ago
                content.failures += 1
                content.received_at_failure = content.received
                seconds = policy.wait_seconds(content.failures, failure.retry_after_seconds)
                content.not_before = now + seconds
                if failure.retry_after_seconds is not None:
                    self._hub_not_before = max(self._hub_not_before, now + seconds)
            self._retry_reason = failure.reason
            self._report_due = True
            self._wake.notify_all()
            if content.state is _State.ACTIVE and content.streams == 1:
                # Ask the Hub again before going on: the content may have moved or changed.
                content.state = _State.PENDING
            given_up = content.failures >= policy.attempts
        if given_up:
            raise failure.final(
                f"{content.file.path!r} could not be fetched: {failure.reason} "
                f"({content.failures} attempts in a row without progress).",
                hint=failure.hint,
            ) from failure

    # Hashing and publishing

    def _queue_hash(self, content: _Content) -> None:
        part = content.part
        if part is None:
            return
        with self._wake:
            if content.state is _State.DONE:
                return
            if content.hash_queued or not part.needs_care:
                return
            content.hash_queued = True
        self._to_hash.put(content)

    def _hash_loop(self) -> None:
        while (content := self._to_hash.get()) is not None and not self._stop.is_set():
            if content.state is _State.CHECKING:
                self._check_blob(content)
                continue
            part = content.part
            if part is None:
                continue
            finished = part.hash_some(self._stop)
            part.sync_some()
            if finished:
                self._finish(content, part)
            with self._wake:
                content.hash_queued = False
            self._queue_hash(content)

    def _check_blob(self, content: _Content) -> None:
        """Hash a file that was in the cache before; fetch it again if it is damaged."""

        def check_stop(_: int) -> None:
            if self._stop.is_set():
                raise PartClosed

        if all(has_hash(path, content.file, check_stop) for path in self._places(content)):
            self._store.mark_verified(self._repo_id, content.file)
            self._complete(content)
            return
        with self._wake:
            content.replaces_damaged = True
            content.state = _State.PENDING
            self._wake.notify_all()

    def _finish(self, content: _Content, part: PartialFile) -> None:
        if part.is_genuine():
            part.publish()
            self._store.mark_verified(self._repo_id, content.file)
            self._complete(content)
            return
        content.wrong_hashes += 1
        if content.wrong_hashes > 1:
            part.discard()
            raise ChecksumMismatch(
                f"{content.file.path!r} arrived twice with another hash than the Hub announces "
                f"({content.file.blob[:12]}…)."
            )
        with self._wake:
            # In one step: no connection may claim blocks of the new attempt before the Hub is asked again.
            part.reset()
            content.state = _State.PENDING
            self._wake.notify_all()

    def _complete(self, content: _Content) -> None:
        for file in content.files:
            self._store.link(self._repo_id, self._commit, file)
        with self._wake:
            content.state = _State.DONE
            self._wake.notify_all()

    # Telling

    def _progress(self) -> TransferProgress:
        with self._wake:
            done = sum(content.bytes_done * len(content.files) for content in self._contents)
            finished = [content for content in self._contents if content.state is _State.DONE]
            phase, message = self._phase()
        self._bytes_reported = max(self._bytes_reported, min(done, self._bytes_total))
        rate = self._meter.bytes_per_second()
        remaining = self._missing_bytes()
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
        now = time.monotonic()
        unfetched = [
            content
            for content in self._contents
            if content.state in (_State.PENDING, _State.OPENING)
            or (content.state is _State.ACTIVE and content.part and not content.part.is_complete)
        ]
        if not unfetched:
            return "verifying", None
        waiting = [content for content in unfetched if content.failures and now < content.not_before]
        flowing = any(content.streams or content.state is _State.OPENING for content in unfetched)
        if waiting or now < self._hub_not_before:
            until = max([self._hub_not_before, *(content.not_before for content in waiting)])
            message = f"retrying in {max(1, round(until - now))} s ({self._retry_reason})"
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


class _Watchdog:
    """Ends a connection that is alive but slower than any useful one."""

    def __init__(self, limits: FetchLimits) -> None:
        self._minimum = limits.minimum_bytes_per_second
        self._window_seconds = limits.minimum_rate_seconds
        self._waited = 0.0
        self._bytes = 0
        self._started = 0.0

    def start_read(self) -> None:
        self._started = time.monotonic()

    def end_read(self, count: int, now: float) -> None:
        # Only time spent waiting for the network counts: a bandwidth limit makes nobody suspicious.
        self._waited += now - self._started
        self._bytes += count
        if self._waited < self._window_seconds:
            return
        rate = self._bytes / self._waited
        self._waited, self._bytes = 0.0, 0
        if rate < self._minimum:
            raise Transient(f"only {rate / 1000:.1f} kB/s")


class _Meter:
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
