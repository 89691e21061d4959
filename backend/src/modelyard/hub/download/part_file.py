"""A file that is being fetched: its part beside the blob, the journal of what it holds, its hash."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from modelyard.core import locks
from modelyard.core.errors import Conflict, DiskFull
from modelyard.core.storage import storage_error, storage_errors, sync
from modelyard.hub.cache.disk import allocated_bytes
from modelyard.hub.cache.hashing import HASH_CHUNK_BYTES, content_hasher
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.cache.journal import overwrite_journal, read_journal, remove_journal, write_journal
from modelyard.hub.download.blocks import Blocks, Claim, Ranges, valid_ranges
from modelyard.hub.names import RemoteFile

_SYNC_BYTES = 256 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class PartClosed(Exception):
    """The download was stopped while this thread still worked on the part."""


class PartialFile:
    """One unfinished file, owned by one process and there by one object.

    Any number of threads write, each its own claim. What is complete from the start is hashed by one thread at a
    time: by the one that writes there, while it still holds the bytes, or by `hash_some`, which reads them back.
    Ownership is an flock on the part itself, so it ends with the process, however that ends. The journal is
    rewritten whenever a block is complete, so a killed process loses at most the blocks in flight.
    `_lock` guards every field; it is never held during reads, writes or hashing of content.
    """

    def __init__(self, store: HubCache, repo_id: str, file: RemoteFile, descriptor: int) -> None:
        self.file = file
        self.size_bytes = file.size_bytes
        self._path = store.part_path(repo_id, file.blob)
        self._journal = store.journal_path(repo_id, file.blob)
        self._blob = store.blob_path(repo_id, file.blob)
        self._descriptor = descriptor
        self._lock = threading.Condition()
        self._journal_lock = threading.Lock()
        self._users = 0
        self._closed = False
        self._etag: str | None = None
        self._hasher = content_hasher(file)
        self._hashed = 0
        self._hashing = False
        self._blocks = Blocks(file.size_bytes)
        self._durable: Ranges = []
        self._unsynced = 0
        self._load()

    @classmethod
    def open(cls, store: HubCache, repo_id: str, file: RemoteFile) -> "PartialFile | None":
        """Own the unfinished file, creating it if need be; None while another process or thread owns it.

        Raises Conflict where something else lies at its place.
        """
        path = store.part_path(repo_id, file.blob)
        while True:
            with ExitStack() as until_owned:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
                except FileNotFoundError:
                    store.prepare(repo_id)
                    continue
                except OSError as error:
                    if path.is_symlink() or path.is_dir():
                        raise _not_ours(path) from error
                    raise storage_error(error, path if path.exists() else path.parent) from error
                until_owned.callback(locks.close, descriptor)
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                    raise _not_ours(path)
                try:
                    locks.lock(descriptor)
                except BlockingIOError:
                    return None
                # Its last owner may have published or removed it between our open and our lock.
                if path.exists() and os.path.samestat(os.fstat(descriptor), path.lstat()):
                    part = cls(store, repo_id, file, descriptor)
                    until_owned.pop_all()
                    return part

    @property
    def filled_bytes(self) -> int:
        with self._lock:
            return self._blocks.filled_bytes

    @property
    def allocated_bytes(self) -> int:
        """Return the bytes of disk that the part takes, also for content that no journal knows of any more."""
        with self._using() as descriptor:
            return allocated_bytes(os.fstat(descriptor))

    @property
    def is_complete(self) -> bool:
        with self._lock:
            return self._blocks.is_complete

    @property
    def needs_care(self) -> bool:
        """Return whether there is enough to hash or to bring to the disk, or nothing left to fetch."""
        with self._lock:
            unhashed = self._blocks.prefix - self._hashed
            return self._blocks.is_complete or unhashed >= HASH_CHUNK_BYTES or self._unsynced >= _SYNC_BYTES

    def accept_etag(self, etag: str | None) -> None:
        """Start over where the Hub now announces another content than the part was begun with."""
        with self._lock:
            changed = self._etag is not None and self._etag != etag
            self._etag = etag
        if changed:
            self.reset()
        else:
            self.save()

    def claim(self, max_blocks: int) -> Claim | None:
        """Take the next blocks that nobody fetches; None when there are none (for now)."""
        with self._lock:
            return None if self._closed else self._blocks.claim(max_blocks)

    def claim_rest(self) -> Claim | None:
        """Fetch everything from the first gap in one go, alone: for a server that cannot serve ranges."""
        with self._lock:
            return self._blocks.claim_rest()

    def unclaimed_blocks(self) -> int:
        with self._lock:
            return self._blocks.unclaimed()

    def release(self, claim: Claim) -> None:
        with self._lock:
            self._blocks.release(claim)

    def write(self, claim: Claim, chunks: Sequence[bytes | memoryview]) -> None:
        """Append to a claim.

        Raises DiskFull, StorageDenied, or PartClosed when the claim or the part is not ours any more.
        """
        length = sum(map(len, chunks))
        with self._using(claim) as descriptor:
            position = claim.position
            with storage_errors(self._path):
                _write_all(descriptor, chunks, position)
            completed = self._advance(claim, length)
        if completed:
            self.save()
        with self._lock:
            if self._hashing or self._hashed != position or claim.revoked:
                return
            hasher = self._start_hashing()
        for chunk in chunks:
            hasher.update(chunk)
        self._end_hashing(hasher, length)

    def hash_some(self, stop: threading.Event) -> bool:
        """Hash what is complete from the start; True when the whole file is hashed."""
        view = memoryview(bytearray(HASH_CHUNK_BYTES))
        while not stop.is_set():
            with self._lock:
                self._lock.wait_for(lambda: not self._hashing)
                position = self._hashed
                count = min(self._blocks.prefix - position, HASH_CHUNK_BYTES)
                if count == 0:
                    return position == self.size_bytes
                hasher = self._start_hashing()
            try:
                with self._using() as descriptor:
                    count = os.preadv(descriptor, [view[:count]], position)
                if count == 0:
                    raise Conflict(f"{self._path} was shortened while it was being written.", hint="Retry.")
                hasher.update(view[:count])
            except BaseException:
                self._end_hashing(hasher, 0)
                raise
            self._end_hashing(hasher, count)
        return False

    def is_genuine(self) -> bool:
        """Return whether the hash of the whole content is the one the Hub announced."""
        return self._hasher.hexdigest() == self.file.blob

    def sync_some(self) -> None:
        """Bring what was written to the disk from time to time, so that publishing need not wait for all of it."""
        with self._lock:
            if self._unsynced < _SYNC_BYTES:
                return
            self._unsynced = 0
            ranges = self._blocks.ranges()
        with self._using() as descriptor:
            os.fdatasync(descriptor)
        with self._lock:
            self._durable = ranges
        self.save(durable=True)

    def save(self, *, durable: bool = False) -> None:
        """Write the journal. Raises DiskFull if even replacing the old one in place needs room there is not."""
        with self._journal_lock:
            with self._lock:
                if self._closed:
                    return
                content = {
                    "version": 1,
                    "etag": self._etag,
                    "size_bytes": self.size_bytes,
                    "boot_id": _boot_id(),
                    "written": self._blocks.ranges(),
                    "durable": self._durable,
                }
            try:
                write_journal(self._journal, content, durable=durable)
            except DiskFull:
                # What was fetched until the disk was full must not be forgotten.
                overwrite_journal(self._journal, content)

    def reset(self) -> None:
        """Forget everything fetched so far."""
        with self._lock:
            self._blocks.clear()
            self._hashed = self._unsynced = 0
            self._durable = []
            self._hasher = content_hasher(self.file)
        self.save()

    def publish(self) -> None:
        """Give the verified content its final name and let go of it."""
        with self._using() as descriptor, storage_errors(self._path.parent):
            os.ftruncate(descriptor, self.size_bytes)
            os.fsync(descriptor)
            self._path.replace(self._blob)
        sync(self._blob.parent)
        with self._journal_lock:
            self._close()
            remove_journal(self._journal)

    def discard(self) -> int:
        """Remove the part and its journal; returns the bytes this freed."""
        with self._lock:
            if self._closed:
                return 0
        freed = allocated_bytes(os.fstat(self._descriptor))
        with self._journal_lock:
            self._close(remove=True)
            remove_journal(self._journal)
        return freed

    def close(self) -> None:
        """Keep what is there for another time and let go of it. Raises DiskFull if the journal cannot be written."""
        if not self._closed:
            try:
                self.save()
            finally:
                self._close()

    def _close(self, *, remove: bool = False) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            while self._users:
                self._lock.wait()
        try:
            if remove:
                with storage_errors(self._path.parent):
                    self._path.unlink(missing_ok=True)
        finally:
            locks.close(self._descriptor)

    @contextmanager
    def _using(self, claim: Claim | None = None) -> Iterator[int]:
        # The descriptor stays open while a thread is in here: its number must not be reused under a write.
        with self._lock:
            if self._closed or (claim is not None and claim.revoked):
                raise PartClosed
            self._users += 1
        try:
            yield self._descriptor
        finally:
            with self._lock:
                self._users -= 1
                self._lock.notify_all()

    def _start_hashing(self) -> "hashlib._Hash":
        self._hashing = True
        return self._hasher

    def _end_hashing(self, hasher: "hashlib._Hash", count: int) -> None:
        with self._lock:
            self._hashing = False
            if hasher is self._hasher:  # else: a reset replaced it, and with it what was found out
                self._hashed += count
            self._lock.notify_all()

    def _advance(self, claim: Claim, length: int) -> bool:
        with self._lock:
            if claim.revoked:
                raise PartClosed
            self._unsynced += length
            return self._blocks.advance(claim, length)

    def _load(self) -> None:
        journal = read_journal(self._journal)
        etag = journal.get("etag")
        if journal.get("version") != 1 or journal.get("size_bytes") != self.size_bytes:
            return
        self._etag = etag if isinstance(etag, str) else None
        end = min(self.size_bytes, os.fstat(self._descriptor).st_size)
        self._durable = valid_ranges(journal.get("durable"), end)
        # After a power cut the disk may lack what the journal already counts; a killed process loses nothing.
        same_boot = journal.get("boot_id") == _boot_id()
        self._blocks.fill(valid_ranges(journal.get("written"), end) if same_boot else self._durable)


def _not_ours(path: Path) -> Conflict:
    return Conflict(f"{path} is not a file of Modelyard's.", hint="Remove it, then retry.")


def _write_all(descriptor: int, chunks: Sequence[bytes | memoryview], position: int) -> None:
    left: list[bytes | memoryview] = list(chunks)
    while left:
        written = os.pwritev(descriptor, left[:1024], position)
        position += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = memoryview(left[0])[written:]


def _boot_id() -> str | None:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None
