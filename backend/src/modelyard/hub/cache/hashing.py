"""Hashes of file contents, and the mark on a blob that says that its hash was checked."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from modelyard.hub.names import RemoteFile

HASH_CHUNK_BYTES = 1 << 20

Identity = tuple[int, int, int, int]
"""Of a file: size in bytes, time of its last change in ns, inode, device."""

# A blob whose size, time of change and inode still equal this attribute was hashed before and need not be again.
_VERIFIED_ATTRIBUTE = "user.modelyard.verified"
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EROFS, errno.ENODATA, errno.ENOSPC}


def content_hasher(file: RemoteFile) -> "hashlib._Hash":
    """Return the hash that verifies a file, ready for its content: sha256, or git's blob hash of a small file."""
    if file.sha256 is not None:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)


def has_hash(path: Path, file: RemoteFile, on_bytes: Callable[[int], None] | None = None) -> bool:
    """Return whether `path`, read in full, has the content that `file` names."""
    hasher = content_hasher(file)
    with path.open("rb", buffering=0) as source:
        while chunk := source.read(HASH_CHUNK_BYTES):
            hasher.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return hasher.hexdigest() == file.blob


def identity(status: os.stat_result) -> Identity:
    """Return a file's identity, which changes if it is no longer the one that was hashed."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def is_same_file(seen: Identity, now: Identity) -> bool:
    """Compare two identities; on another disk, to which a cache was moved, inodes say nothing."""
    return seen[:2] == now[:2] and (seen[3] != now[3] or seen[2] == now[2])


def is_marked_verified(path: Path) -> bool:
    """Return whether Modelyard hashed this blob before and it has not changed since."""
    try:
        return os.getxattr(path, _VERIFIED_ATTRIBUTE) == _verified_mark(path.stat())
    except (OSError, AttributeError):
        return False


def mark_verified(path: Path) -> None:
    """Mark the blob itself as hashed; a no-op on disks without attributes, or without a blob."""
    if not hasattr(os, "setxattr"):
        return
    try:
        os.setxattr(path, _VERIFIED_ATTRIBUTE, _verified_mark(path.stat()))
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise


def _verified_mark(status: os.stat_result) -> bytes:
    return b"%d:%d:%d" % identity(status)[:3]
