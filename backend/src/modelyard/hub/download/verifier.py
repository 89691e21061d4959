"""Hashes what was fetched or was on disk before, and publishes what has the hash that the Hub announced."""

import queue
import threading
from pathlib import Path

from modelyard.core.errors import ChecksumMismatch
from modelyard.hub.cache.hashing import has_hash
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.download.part_file import PartClosed, PartialFile
from modelyard.hub.download.scheduler import Content, Scheduler, State

HASH_THREADS = 2


class Verifier:
    """The hashing threads of one download, and the only place where a content becomes done."""

    def __init__(self, scheduler: Scheduler, store: HubCache, repo_id: str, commit: str) -> None:
        self.threads: list[threading.Thread] = []
        self._scheduler = scheduler
        self._store = store
        self._repo_id = repo_id
        self._commit = commit
        self._queue: queue.SimpleQueue[Content | None] = queue.SimpleQueue()

    def start(self) -> None:
        self.threads = [self._scheduler.start(self._work, f"hash-{n}") for n in range(HASH_THREADS)]

    def halt(self) -> None:
        """Wake the threads, so that they see the stop."""
        for _ in self.threads:
            self._queue.put(None)

    def check(self, content: Content) -> None:
        """Verify a content that is in the cache already: now, if it was hashed before, else in a thread."""
        if self._store.is_marked_verified(self._repo_id, content.file):
            self._complete(content)
        else:
            self.recheck(content)

    def recheck(self, content: Content) -> None:
        """Hash a content that is in the cache already in a thread."""
        content.state = State.CHECKING
        self._queue.put(content)

    def advance(self, content: Content) -> None:
        """Hash in a thread what has been fetched, once there is enough of it; finishes what is complete."""
        part = content.part
        if part is None:
            return
        with self._scheduler.lock:
            if content.state is State.DONE:
                return
            if content.hash_queued or not part.needs_care:
                return
            content.hash_queued = True
        self._queue.put(content)

    def _work(self) -> None:
        while (content := self._queue.get()) is not None and not self._scheduler.stop.is_set():
            if content.state is State.CHECKING:
                self._check_blob(content)
            elif content.part is not None:
                self._advance_part(content, content.part)

    def _advance_part(self, content: Content, part: PartialFile) -> None:
        finished = part.hash_some(self._scheduler.stop)
        part.sync_some()
        if finished:
            self._finish(content, part)
        with self._scheduler.lock:
            content.hash_queued = False
        self.advance(content)

    def _check_blob(self, content: Content) -> None:
        """Hash a file that was in the cache before; fetch it again if it is damaged."""

        def check_stop(_: int) -> None:
            if self._scheduler.stop.is_set():
                raise PartClosed

        if all(has_hash(path, content.file, check_stop) for path in self._places(content)):
            self._store.mark_verified(self._repo_id, content.file)
            self._complete(content)
            return
        with self._scheduler.changing():
            content.replaces_damaged = True
            content.state = State.PENDING

    def _places(self, content: Content) -> list[Path]:
        """Return where content that is in the cache lies: as a blob, or as the files of the snapshot themselves."""
        if self._store.has_blob(self._repo_id, content.file):
            return [self._store.blob_path(self._repo_id, content.file.blob)]
        return [self._store.snapshot_path(self._repo_id, self._commit) / file.path for file in content.files]

    def _finish(self, content: Content, part: PartialFile) -> None:
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
        with self._scheduler.changing():
            # In one step: no connection may claim blocks of the new attempt before the Hub is asked again.
            part.reset()
            content.state = State.PENDING

    def _complete(self, content: Content) -> None:
        for file in content.files:
            self._store.link(self._repo_id, self._commit, file)
        with self._scheduler.changing():
            content.state = State.DONE
