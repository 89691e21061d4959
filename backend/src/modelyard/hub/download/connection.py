"""The connections of one download: each asks the Hub where a file is, or brings some of its blocks to the disk."""

import threading
import time
from functools import partial

from modelyard.core.errors import HubMisbehaved, HubUnreachable
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.download.blocks import Claim
from modelyard.hub.download.limits import FetchLimits
from modelyard.hub.download.part_file import PartClosed, PartialFile
from modelyard.hub.download.progress import REPORT_SECONDS, Meter
from modelyard.hub.download.scheduler import Content, Scheduler, State
from modelyard.hub.download.throttle import Throttle
from modelyard.hub.download.transport import Body, LocationExpired, ResolvedFile, Transport
from modelyard.hub.download.verifier import Verifier
from modelyard.hub.retry import Transient

# A read allocates what it asks for: little for a connection that brings little at a time (TLS: 16 kB), else more.
READ_BYTES = 256 << 10
FLUSH_BYTES = 1 << 20
LOCATION_SECONDS = 60.0
SHORT_ANSWERS = 3
"""How many answers in a row may end, by their own Content-Length, before the end of what was asked for."""


class Connections:
    """The threads that fetch. They get their tasks from the scheduler and hand what arrived to the verifier."""

    def __init__(
        self,
        transport: Transport,
        scheduler: Scheduler,
        verifier: Verifier,
        store: HubCache,
        throttle: Throttle,
        limits: FetchLimits,
    ) -> None:
        self.meter = Meter()
        self._transport = transport
        self._scheduler = scheduler
        self._verifier = verifier
        self._store = store
        self._throttle = throttle
        self._limits = limits
        self._threads: dict[int, threading.Thread] = {}
        self._bodies: set[Body] = set()
        self._lock = threading.Lock()

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._threads.values())

    def start(self, count: int) -> None:
        """Have `count` connections; those that are too many end themselves."""
        self._scheduler.connections = count
        if self._scheduler.is_finished():
            return
        for number in range(count):
            if number not in self._threads or not self._threads[number].is_alive():
                self._threads[number] = self._scheduler.start(partial(self._work, number), f"connection-{number}")

    def interrupt(self) -> None:
        """Make the reads that wait for a server return. The scheduler has been halted before."""
        with self._lock:
            bodies = list(self._bodies)
        for body in bodies:
            body.interrupt()

    def _work(self, number: int) -> None:
        while (task := self._scheduler.next_task(number)) is not None:
            try:
                if task.claim is None:
                    with self._scheduler.ending_all():
                        self._open(task.content)
                else:
                    self._fetch(task.content, task.claim)
            except Transient as failure:
                self._scheduler.postpone(task.content, failure)
            except PartClosed:
                continue
            finally:
                self._scheduler.end_task(task)

    # Asking the Hub for a file

    def _open(self, content: Content) -> None:
        """Own the file, check with the Hub that it is still what was listed, and put it up for fetching."""
        repo_id = self._transport.repo_id
        if content.part is None:
            content.part = PartialFile.open(self._store, repo_id, content.file)
            if content.part is None:
                content.busy_elsewhere = True
                content.not_before = time.monotonic() + REPORT_SECONDS
                return
            content.busy_elsewhere = False
        if self._store.has_blob(repo_id, content.file) and not content.replaces_damaged:
            # Another process published it while this one waited.
            content.part.discard()
            content.part = None
            self._verifier.recheck(content)
            return
        self._resolve(content)
        with self._scheduler.changing():
            if content.state is not State.OPENING:
                return
            content.state = State.ACTIVE
        self._verifier.advance(content)

    def _resolve(self, content: Content) -> None:
        file, commit = content.file, self._transport.commit
        resolved = self._transport.resolve(file.path)
        if resolved.commit is not None and resolved.commit != commit:
            raise HubMisbehaved(f"The Hub answers {file.path!r} from commit {resolved.commit}, not {commit}.")
        if resolved.size_bytes is not None and resolved.size_bytes != file.size_bytes:
            raise HubMisbehaved(
                f"The Hub lists {file.path!r} with {file.size_bytes} bytes, but serves {resolved.size_bytes}."
            )
        if resolved.etag and len(resolved.etag) == len(file.blob) and resolved.etag != file.blob:
            raise HubMisbehaved(f"The content of {file.path!r} changed on the Hub although its commit did not.")
        part = content.part
        if part is None or self._scheduler.stop.is_set():
            raise PartClosed
        part.accept_etag(resolved.etag)
        content.resolved, content.resolved_at = resolved, time.monotonic()

    # Fetching blocks of a file

    def _fetch(self, content: Content, claim: Claim) -> None:
        part, resolved = content.part, content.resolved
        if part is None or resolved is None:
            raise PartClosed
        body = None
        try:
            with self._scheduler.ending_all():
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
                with self._lock:
                    self._bodies.discard(body)
            part.release(claim)

    def _open_body(self, content: Content, part: PartialFile, resolved: ResolvedFile, claim: Claim) -> Body:
        start, stop = claim.position, claim.stop
        if content.is_oversized and resolved.xet is not None:
            return self._transport.open_xet(resolved.xet, start=start, stop=stop, size_bytes=part.size_bytes)
        return self._transport.open(resolved.location, start=start, stop=stop, size_bytes=part.size_bytes)

    def _refresh_location(self, content: Content, refusal: LocationExpired) -> None:
        # Signed locations end after a while; one that was refused when new will be refused again.
        if time.monotonic() - content.resolved_at < LOCATION_SECONDS:
            raise HubMisbehaved(f"The storage behind the Hub refused {content.file.path!r}: {refusal}.")
        self._resolve(content)

    def _register(self, body: Body) -> None:
        with self._lock:
            if self._scheduler.stop.is_set():
                raise PartClosed
            self._bodies.add(body)

    def _stream(self, content: Content, part: PartialFile, claim: Claim, body: Body) -> None:
        watchdog = _Watchdog(self._limits)
        skip = claim.position - body.offset
        chunks: list[bytes | memoryview] = []
        gathered = received = 0
        flushed_at = time.monotonic()
        try:
            while (missing := claim.stop - claim.position - gathered) > 0:
                wanted = FLUSH_BYTES if received >= READ_BYTES else READ_BYTES
                allowed = self._throttle.take(min(wanted, skip + missing), self._scheduler.stop)
                watchdog.start_read()
                data = body.read(allowed)
                self._throttle.refund(allowed - len(data))
                if not data:
                    raise self._cut_short(content, body, claim.position + gathered)
                received = len(data)
                content.received += received
                self.meter.add(received)
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
                    self._verifier.advance(content)
                if not body.has_own_timeouts:
                    watchdog.end_read(received, now)
            content.short_answers = 0
        finally:
            if chunks:
                part.write(claim, chunks)
                self._verifier.advance(content)

    def _cut_short(self, content: Content, body: Body, position: int) -> Exception:
        if self._scheduler.stop.is_set():
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
