"""Writing the parts of a bundle, so that a process that is killed at any byte is followed by one that goes on."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from modelyard.core.errors import StorageError
from modelyard.core.storage import storage_errors
from modelyard.hub.cache.disk import unique_beside, write_atomically

JOURNAL = "journal.json"
SYNC_BYTES = 64 << 20
"""After so many bytes they are brought to the disk, and the journal says so: an attempt that follows begins there."""
READ_BYTES = 1 << 20


class PartsWriter:
    """Writes files of given sizes one after the other, as if they were one.

    `offset` is where the next byte belongs: behind what an earlier attempt is known to have brought to the disk.
    """

    def __init__(self, folder: Path, names: Sequence[str], sizes: Sequence[int]) -> None:
        self._folder, self._names, self._sizes = folder, names, sizes
        self.hashes: list[str] = []
        """Of the parts that are written."""
        self._file: BinaryIO | None = None
        self.offset = 0
        self._resume()
        self._synced = self.offset

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        with suppress(OSError, StorageError):  # what could not be brought to the disk is written again
            if error is not None:
                self.sync()
        self._file.close()

    def write(self, content: bytes) -> None:
        """Raises StorageError."""
        left = memoryview(content)
        with storage_errors(self._folder):
            while left:
                file = self._opened()
                room = self._sizes[len(self.hashes)] - self._begun
                piece = left[:room]
                file.write(piece)
                self._hash.update(piece)
                self._begun += len(piece)
                self.offset += len(piece)
                left = left[room:]
                if self._begun == self._sizes[len(self.hashes)]:
                    self._end_part()
            if self.offset - self._synced >= SYNC_BYTES:
                self.sync()

    def sync(self) -> None:
        """Bring what was written to the disk, and write down that it is there. Raises StorageError."""
        with storage_errors(self._folder):
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
            journal = self._folder / JOURNAL
            content = json.dumps({"offset": self.offset, "hashes": self.hashes}).encode()
            write_atomically(journal, unique_beside(journal), content, durable=True)
        self._synced = self.offset

    def _end_part(self) -> None:
        assert self._file is not None  # noqa: S101
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self.hashes.append(self._hash.hexdigest())
        self.sync()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = (self._folder / self._names[len(self.hashes)]).open("wb")
            self._hash, self._begun = hashlib.sha256(), 0
        return self._file

    def _resume(self) -> None:
        """Go to where the journal says; the part that was begun is read again for its hash."""
        try:
            journal = json.loads((self._folder / JOURNAL).read_bytes())
        except FileNotFoundError:
            return
        hashes, offset = journal["hashes"], journal["offset"]
        begun = offset - sum(self._sizes[: len(hashes)])
        if any(_size(self._folder / self._names[index]) != self._sizes[index] for index in range(len(hashes))):
            return  # somebody removed a part: all is written again
        self.hashes, self.offset = hashes, offset - begun
        if begun == 0:
            return
        path = self._folder / self._names[len(hashes)]
        if _size(path) < begun:
            return
        with storage_errors(path):
            file = path.open("r+b")
            self._hash, self._begun = hashlib.sha256(), 0
            while self._begun < begun:
                chunk = file.read(min(READ_BYTES, begun - self._begun))
                self._hash.update(chunk)
                self._begun += len(chunk)
            file.truncate(begun)
        self._file, self.offset = file, offset


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
