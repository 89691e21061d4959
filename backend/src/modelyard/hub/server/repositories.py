"""Repositories that our own Hub endpoint serves, and git's hashes of their content."""

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path

from modelyard.core.paths import open_inside
from modelyard.hub.cache.hashing import Identity, identity, is_same_file

DEFAULT_BRANCH = "main"


class RepoNotFound(LookupError):
    """No source has a repository of this name."""


class RepoRevisionNotFound(LookupError):
    """The repository exists, but not at this revision."""


class RepoUnavailable(Exception):
    """The repository exists but cannot be served now; the message says why."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a repository: `git_oid` is git's blob hash, of the LFS pointer if `lfs_sha256` is set.

    It is `path` below `folder` on this disk. With `seen`, it is served only while its identity is still `seen`.
    """

    path: str
    size_bytes: int
    git_oid: str
    lfs_sha256: str | None
    folder: Path
    seen: Identity | None = None

    @property
    def etag(self) -> str:
        """Return the ETag as the Hub sends it: the sha256 of LFS files, git's hash of others."""
        return self.lfs_sha256 or self.git_oid

    def open(self) -> FileIO:
        """Open the file that was hashed. Raises OSError, and PathNotAllowed if it is another file now."""
        file = open_inside(self.folder, self.path)
        status = os.fstat(file.fileno())
        changed = self.seen is not None and not is_same_file(self.seen, identity(status))
        if status.st_size != self.size_bytes or changed:
            file.close()
            raise OSError(errno.ESTALE, "it is no longer the file that was verified")
        return file


@dataclass(frozen=True)
class StoredRepo:
    """A repository at one commit. `refs` maps the names of all its revisions to commits."""

    repo_id: str
    commit: str
    files: Mapping[str, StoredFile]
    refs: Mapping[str, str]
    last_modified: datetime
    tags: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True)
class PlannedRepo:
    """A repository that is listed before its files exist."""

    repo_id: str


def lfs_pointer(sha256: str, size_bytes: int) -> bytes:
    """Return the pointer file that git stores instead of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()


def git_blob_sha1(content: bytes) -> str:
    """Return git's hash of a file with this content."""
    return _git_sha1("blob", content)


def git_tree_sha1(files: Mapping[str, str]) -> str:
    """Return git's hash of a folder, from the git hash of each file (mode 644) by its path inside the folder."""
    entries: list[tuple[str, bytes, str]] = []
    folders: dict[str, dict[str, str]] = {}
    for path, oid in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = oid
        else:
            entries.append((head, b"100644", oid))
    entries += [(f"{name}/", b"40000", git_tree_sha1(inside)) for name, inside in folders.items()]
    content = b"".join(
        mode + b" " + name.rstrip("/").encode() + b"\0" + bytes.fromhex(oid)
        for name, mode, oid in sorted(entries, key=lambda entry: entry[0].encode())
    )
    return _git_sha1("tree", content)


def _git_sha1(kind: str, content: bytes) -> str:
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content, usedforsecurity=False).hexdigest()
