"""Files of bundles that are sent to the server piece by piece, and go on after an interruption."""

import os
import re
import time
from pathlib import Path

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.private_files import open_private
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES, ensure_free, storage_errors
from modelyard.schemas.bundle import BundleUpload

KEPT_SECONDS = 7 * 86400.0
"""An unfinished upload that nobody continued for so long is removed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RANGE = re.compile(r"bytes (?:(?P<first>\d{1,16})-(?P<last>\d{1,16})|\*)/(?P<size>\d{1,16})")
_UNFINISHED = ".unfinished"


class BundleUploads:
    """Takes the files into a folder of this server's home."""

    def begin(self, name: str, content_range: str) -> "ArrivingPiece":
        """Return where a piece goes. Raises InvalidRequest, DiskFull, and Conflict for a piece that leaves a gap."""
        if not _NAME.fullmatch(name) or name.endswith(_UNFINISHED):
            raise InvalidRequest(
                f"{name!a} is no name for an uploaded file.", hint="Use letters, digits, dots, dashes and underscores."
            )
        match = _RANGE.fullmatch(content_range.strip())
        if match is None:
            raise InvalidRequest(
                "A Content-Range is needed, such as `bytes 0-1048575/5000000`.",
                hint="`bytes */5000000` without a body asks how much was received.",
            )
        size = int(match["size"])
        piece = range(int(match["first"]), int(match["last"]) + 1) if match["first"] else range(0)
        if match["first"] and (not piece or piece.stop > size):
            raise InvalidRequest(
                "The Content-Range is not inside the file.", hint="Its last byte is at most the size minus 1."
            )
        return ArrivingPiece(get_settings().bundle_uploads_folder, name, size, piece)

    def remove_stale(self) -> None:
        """Remove unfinished files that nobody continues."""
        for path in get_settings().bundle_uploads_folder.glob(f"*{_UNFINISHED}"):
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink(missing_ok=True)


class ArrivingPiece:
    """A piece of a file, written as it arrives; what arrived of a piece that breaks off is kept."""

    def __init__(self, folder: Path, name: str, size_bytes: int, piece: range) -> None:
        self._folder, self._name, self._size = folder, name, size_bytes
        self._final = folder / name
        self._path = folder / f"{name}.{size_bytes}{_UNFINISHED}"
        self._piece = piece
        self._skip = 0
        received = self._received()
        if not piece:
            return
        if piece.start > received:
            raise Conflict(
                f"The server has {received} bytes of {name}, so byte {piece.start} cannot follow.",
                hint="Continue with the next byte.",
                received_bytes=received,
            )
        self._skip = min(received - piece.start, len(piece))
        ensure_free(folder, size_bytes - received, reserve_bytes=DISK_RESERVE_BYTES)
        self._left = len(piece)

    def write(self, content: bytes) -> None:
        """Append what is not there yet. Raises InvalidRequest beyond the announced piece, StorageError."""
        if not self._piece or len(content) > self._left:
            raise InvalidRequest("The body is longer than its Content-Range.", hint="Send as many bytes as it names.")
        self._left -= len(content)
        skipped = min(self._skip, len(content))
        self._skip -= skipped
        if skipped == len(content):
            return
        with storage_errors(self._folder), open_private(self._path, "ab") as file:
            file.write(content[skipped:])

    def finish(self) -> BundleUpload:
        """Return how much there is; a file that is whole gets its name."""
        received = self._received()
        if received == self._size and self._path.exists():
            with storage_errors(self._folder):
                with self._path.open("rb") as file:
                    os.fsync(file.fileno())
                self._path.replace(self._final)
        return BundleUpload(name=self._name, path=str(self._final), received_bytes=received, size_bytes=self._size)

    def _received(self) -> int:
        for path in (self._path, self._final):
            try:
                found = path.stat().st_size
            except FileNotFoundError:
                continue
            if path == self._path or found == self._size:
                return found
        return 0
