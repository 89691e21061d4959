"""Fetches a snapshot's files: many connections, resumable to the byte, published only after the hash matched.

The calling thread takes stock, then reports and watches its owner's wishes and the disk. Meanwhile each connection gets
tasks from the scheduler and fetches (`connection`), and the verifier hashes and publishes what arrived.
Every request asks for at most `CLAIM_BLOCKS` blocks. Files above the size that huggingface_hub fetches over plain
HTTP (50 GB) come from Xet storage where the Hub offers it; else in such ranges too, which some storage networks refuse.
"""

import enum
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.download.connection import Connections
from modelyard.hub.download.limits import FetchLimits
from modelyard.hub.download.part_file import PartialFile
from modelyard.hub.download.progress import REPORT_SECONDS, Reporter, TransferProgress
from modelyard.hub.download.scheduler import Content, Scheduler, State, contents_of
from modelyard.hub.download.throttle import Reserve, Throttle
from modelyard.hub.download.transport import Transport
from modelyard.hub.download.verifier import Verifier
from modelyard.hub.names import RemoteFile, validate_commit, validate_files, validate_repo_id

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

STOP_SECONDS = 0.5
DISK_CHECK_SECONDS = 5.0


class Control(enum.Enum):
    """Says what the owner of a running download wants of it."""

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
    snapshot: str | None = None,
) -> FetchResult:
    """Bring `files` of one commit into the cache, verified; blocks until they are all there.

    They appear in the snapshot of that commit, or in another one.

    `limits` and `control` are called a few times a second, `on_progress` about four times a second, all from
    the calling thread; what they raise ends the download as a pause does. Files already in the cache, in this
    repository or another one, are hashed once and then only linked. A file that another process fetches is
    waited for, not fetched twice.
    `reserve` shares the bandwidth with other downloads; without it the limit holds for this one alone.

    Raises TransferPaused, TransferCancelled, HubMisbehaved, HubUnreachable, HubRateLimited, GatedNoToken,
    GatedNotAccepted, TokenInvalid, ChecksumMismatch, DiskFull, StorageDenied or Conflict. After any of them the
    verified and unfinished bytes stay for the next call (cancelling removes the unfinished ones).
    """
    validate_repo_id(repo_id)
    validate_commit(commit)
    validate_files(files)
    store.prepare(repo_id)
    download = _Download(endpoint, repo_id, commit, files, store, token, limits(), reserve, snapshot or commit)
    return download.run(limits, on_progress, control)


class _Download:
    """One call of fetch_snapshot, from the side of the calling thread."""

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
        snapshot: str,
    ) -> None:
        self._repo_id = repo_id
        self._snapshot = snapshot
        self._store = store
        self._limits = limits
        self._contents = contents_of(files)
        self._transport = Transport(
            endpoint=endpoint,
            repo_id=repo_id,
            commit=commit,
            token=token,
            connect_timeout_seconds=limits.connect_timeout_seconds,
            stall_seconds=limits.stall_seconds,
            connections=limits.connections,
        )
        self._throttle = Throttle(limits.bandwidth_bytes_per_second, reserve)
        self._scheduler = Scheduler(self._contents, policy=limits.retry, connections=limits.connections)
        self._verifier = Verifier(self._scheduler, store, repo_id, snapshot)
        self._connections = Connections(self._transport, self._scheduler, self._verifier, store, self._throttle, limits)
        self._reporter = Reporter(self._scheduler, self._connections.meter)

    def run(
        self,
        limits: Callable[[], FetchLimits],
        on_progress: Callable[[TransferProgress], None],
        control: Callable[[], Control],
    ) -> FetchResult:
        wanted = Control.RUN
        try:
            reused = self._take_stock()
            self._check_disk()
            self._verifier.start()
            wanted = self._watch(limits, on_progress, control)
        finally:
            self._halt()
            if wanted is not Control.CANCEL:
                self._keep_parts()
        if wanted is Control.CANCEL:
            raise TransferCancelled(self._discard_parts())
        if self._scheduler.error is not None:
            raise self._scheduler.error
        on_progress(self._reporter.progress())  # what came since the last report, before a pause as well
        if wanted is Control.PAUSE:
            raise TransferPaused
        return FetchResult(bytes_transferred=self._connections.meter.total, bytes_reused=reused)

    def _take_stock(self) -> int:
        """Look at the cache and the unfinished files; returns the bytes that need not be fetched."""
        reused = 0
        self._link_known_content()
        for content in self._contents:
            if self._is_here(content):
                reused += content.file.size_bytes * len(content.files)
                self._store.remove_stale_journal(self._repo_id, content.file.blob)
                self._verifier.check(content)
            # Only what was begun: a part holds a descriptor, and a snapshot may have thousands of files.
            elif self._store.part_path(self._repo_id, content.file.blob).exists():
                content.part = PartialFile.open(self._store, self._repo_id, content.file)
                content.busy_elsewhere = content.part is None
                reused += content.bytes_done * len(content.files)
        return reused

    def _link_known_content(self) -> None:
        """Link what other repositories of the cache hold, so that it is hashed like what is here, and not fetched."""
        missing = {
            content.file.blob: content.file
            for content in self._contents
            if not self._is_here(content) and not self._store.part_path(self._repo_id, content.file.blob).exists()
        }
        for blob, path in self._store.find_elsewhere(self._repo_id, list(missing.values())).items():
            self._store.link_content(self._repo_id, missing[blob], path)

    def _is_here(self, content: Content) -> bool:
        """Return whether the cache holds it, as a blob or as the files of the snapshot themselves."""
        store = self._store
        return store.has_blob(self._repo_id, content.file) or store.holds_copies(
            self._repo_id, self._snapshot, content.files
        )

    def _watch(
        self,
        limits: Callable[[], FetchLimits],
        on_progress: Callable[[TransferProgress], None],
        control: Callable[[], Control],
    ) -> Control:
        """Apply the limits, report and check the disk until the download ends or its owner wants it to."""
        next_report = next_disk_check = 0.0  # on the clock of time.monotonic
        running = True
        while running:
            now = time.monotonic()
            if now >= next_report or self._scheduler.report_due:
                self._scheduler.report_due = False
                next_report = now + REPORT_SECONDS
                wanted = control()
                if wanted is not Control.RUN:
                    return wanted
                self._apply(limits())
                on_progress(self._reporter.progress())
            if now >= next_disk_check:
                next_disk_check = now + DISK_CHECK_SECONDS
                self._check_disk_while_running()
            running = self._scheduler.wait()
        return Control.RUN

    def _apply(self, limits: FetchLimits) -> None:
        self._throttle.rate = limits.bandwidth_bytes_per_second
        self._connections.start(max(1, limits.connections))

    def _check_disk(self) -> None:
        if self._scheduler.missing_bytes():
            taken = sum(content.part.allocated_bytes for content in self._contents if content.part)
            pending = sum(content.file.size_bytes for content in self._contents if content.state is State.PENDING)
            self._store.ensure_free(max(0, pending - taken), reserve_bytes=self._limits.disk_reserve_bytes)

    def _check_disk_while_running(self) -> None:
        # Others write to this disk too: stop while there is still room for them, not at the last byte.
        if self._scheduler.missing_bytes():
            self._store.ensure_free(0, reserve_bytes=self._limits.disk_reserve_bytes // 2)

    def _halt(self) -> None:
        """Stop all threads. Those stuck in a call to a silent server are left behind; they own no file."""
        self._scheduler.halt()
        self._connections.interrupt()
        self._verifier.halt()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._connections.threads + self._verifier.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._transport.close()

    def _keep_parts(self) -> None:
        # All of them, even if the journal of one cannot be written: a part left open stays locked.
        with ExitStack() as stack:
            for content in self._contents:
                if content.part is None or content.state is State.DONE:
                    continue
                stack.callback(content.part.close if content.part.filled_bytes else content.part.discard)

    def _discard_parts(self) -> int:
        freed: list[int] = []

        def discard(part: PartialFile) -> None:
            freed.append(part.discard())

        with ExitStack() as stack:  # as above
            for content in self._contents:
                if content.part is not None and content.state is not State.DONE:
                    stack.callback(discard, content.part)
        return sum(freed) + self._store.remove_partials(
            self._repo_id, [content.file.blob for content in self._contents]
        )
