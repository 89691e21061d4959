"""The repositories that our own Hub endpoint serves, and where they come from."""

import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from anyio import CapacityLimiter, to_thread
from huggingface_hub.file_download import repo_folder_name

from modelyard.core.errors import HubMisbehaved, InvalidRequest
from modelyard.hub.names import RemoteFile, validate_commit, validate_files, validate_repo_id

DEFAULT_BRANCH = "main"

_COMMIT = re.compile(r"[0-9a-f]{7,64}")

logger = logging.getLogger(__name__)


class RepoNotFound(LookupError):
    """No source holds a repository of this name."""


class RepoRevisionNotFound(LookupError):
    """The repository is here, but not at this revision."""


class RepoUnavailable(Exception):
    """The repository belongs here but cannot be given now; the message says why."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a repository: `git_oid` is git's blob hash, of the LFS pointer if `lfs_sha256` is set."""

    path: str
    size_bytes: int
    git_oid: str
    lfs_sha256: str | None
    local_path: Path

    @property
    def etag(self) -> str:
        """What the Hub sends as ETag: the content's sha256 for LFS files, git's hash for the others."""
        return self.lfs_sha256 or self.git_oid


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
    is_sample: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True)
class PlannedRepo:
    """A repository that is listed before its files exist."""

    repo_id: str
    tags: tuple[str, ...]
    pipeline_tag: str
    library_name: str
    parameters_by_dtype: Mapping[str, int]


class RepoSource(Protocol):
    """Somewhere repositories come from. Both methods are called on the event loop and must not block it."""

    async def list_repos(self) -> Sequence[StoredRepo | PlannedRepo]:
        """Each repository once, at its default branch. Answers at once."""
        ...

    async def get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        """The repository at a branch, tag or commit; None is the default branch.

        Raises RepoNotFound, RepoRevisionNotFound or RepoUnavailable.
        """
        ...


@dataclass(frozen=True)
class ReadyFile:
    """A verified file: a `sha256` if the Hub keeps it in LFS, else git's blob hash."""

    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class ReadySnapshot:
    """A snapshot in the Hugging Face cache whose files were all verified.

    `model_id` names its folder in the cache; the repository is served under `canonical_id` too. `revision` is
    the branch, tag or commit it was asked for as. `ready_at` decides which of two snapshots is the newer one.
    """

    model_id: str
    commit: str
    revision: str
    files: tuple[ReadyFile, ...]
    ready_at: datetime
    gated: bool = False
    canonical_id: str | None = None
    tags: tuple[str, ...] = ()


@dataclass
class _Seen:
    """The snapshots by repository name, and when they were read."""

    by_name: dict[str, list[ReadySnapshot]] = field(default_factory=dict)
    read_at: float = float("-inf")


class StoreSource:
    """What this instance stores in the Hugging Face cache at `cache_dir`.

    `ready` returns the snapshots whose files are all verified; it may block, and is called in a thread. Only
    files of their manifests are served, and no snapshot with a name that could lead out of its folder. The
    default branch is the newest snapshot that was asked for as `main`, or else the newest of all.
    """

    REREAD_SECONDS = 1.0
    """One download asks for many files: the list is read again after this long, or when a name is not in it."""

    def __init__(self, cache_dir: Path, ready: Callable[[], Sequence[ReadySnapshot]]) -> None:
        self._cache_dir = cache_dir
        self._ready = ready
        self._seen = _Seen()
        self._servable: dict[tuple[str, str, str, datetime], bool] = {}
        # Its own threads: requests that wait for this Hub may hold all of the default ones.
        self._threads = CapacityLimiter(4)

    async def list_repos(self) -> Sequence[StoredRepo]:
        seen = await self._read()
        newest_of_each = {_served_name(snapshots[0]): snapshots for snapshots in seen.values()}
        return [self._stored(_default_of(snapshots), snapshots) for snapshots in newest_of_each.values()]

    async def get_repo(self, repo_id: str, revision: str | None) -> StoredRepo:
        fresh = time.monotonic() - self._seen.read_at < self.REREAD_SECONDS
        if fresh and (found := self._find(self._seen.by_name, repo_id, revision)):
            return found
        seen = await self._read()
        if found := self._find(seen, repo_id, revision):
            return found
        if repo_id in seen:
            raise RepoRevisionNotFound(f"{repo_id} is not stored here at revision {revision}")
        raise RepoNotFound(f"{repo_id} is not stored here")

    async def _read(self) -> dict[str, list[ReadySnapshot]]:
        snapshots = await to_thread.run_sync(self._read_servable, limiter=self._threads)
        by_name: dict[str, list[ReadySnapshot]] = {}
        for snapshot in sorted(snapshots, key=lambda s: s.ready_at, reverse=True):
            for name in {snapshot.model_id, _served_name(snapshot)}:
                by_name.setdefault(name, []).append(snapshot)
        self._seen = _Seen(by_name, time.monotonic())
        return by_name

    def _read_servable(self) -> list[ReadySnapshot]:
        snapshots = {(s.model_id, s.commit, s.revision, s.ready_at): s for s in self._ready()}
        known = self._servable
        self._servable = {
            key: known[key] if key in known else _is_servable(snapshot) for key, snapshot in snapshots.items()
        }
        return [snapshot for key, snapshot in snapshots.items() if self._servable[key]]

    def _find(
        self, by_name: Mapping[str, list[ReadySnapshot]], repo_id: str, revision: str | None
    ) -> StoredRepo | None:
        snapshots = by_name.get(repo_id)
        if snapshots is None:
            return None
        if revision in (None, DEFAULT_BRANCH):
            return self._stored(_default_of(snapshots), snapshots)
        for snapshot in snapshots:
            if revision in (snapshot.revision, snapshot.commit):
                return self._stored(snapshot, snapshots)
        return None

    def _stored(self, snapshot: ReadySnapshot, snapshots: Sequence[ReadySnapshot]) -> StoredRepo:
        folder = self._cache_dir / repo_folder_name(repo_id=snapshot.model_id, repo_type="model")
        folder = folder / "snapshots" / snapshot.commit
        refs = {DEFAULT_BRANCH: _default_of(snapshots).commit}
        for other in snapshots:
            if not _COMMIT.fullmatch(other.revision):
                refs.setdefault(other.revision, other.commit)
        return StoredRepo(
            repo_id=_served_name(snapshot),
            commit=snapshot.commit,
            files={
                file.path: StoredFile(
                    path=file.path,
                    size_bytes=file.size,
                    git_oid=_git_oid_of(file),
                    lfs_sha256=file.sha256,
                    local_path=folder / file.path,
                )
                for file in sorted(snapshot.files, key=lambda f: f.path)
            },
            refs=refs,
            last_modified=snapshot.ready_at,
            tags=snapshot.tags,
            gated=snapshot.gated,
        )


def _is_servable(snapshot: ReadySnapshot) -> bool:
    """Whether all its names may become paths; logs why not."""
    try:
        validate_repo_id(snapshot.model_id)
        validate_repo_id(_served_name(snapshot))
        validate_commit(snapshot.commit)
        validate_files([RemoteFile(file.path, file.size, file.sha256, file.git_sha1) for file in snapshot.files])
    except (InvalidRequest, HubMisbehaved) as error:
        logger.warning("%s at %s is not served: %s", snapshot.model_id, snapshot.commit, error.message)
        return False
    return True


def _served_name(snapshot: ReadySnapshot) -> str:
    return snapshot.canonical_id or snapshot.model_id


def _default_of(snapshots: Sequence[ReadySnapshot]) -> ReadySnapshot:
    return next((snapshot for snapshot in snapshots if snapshot.revision == DEFAULT_BRANCH), snapshots[0])


def _git_oid_of(file: ReadyFile) -> str:
    if file.git_sha1 is not None:
        return file.git_sha1
    assert file.sha256 is not None  # noqa: S101 (checked by _is_servable)
    return git_blob_sha1(lfs_pointer(file.sha256, file.size))


def lfs_pointer(sha256: str, size_bytes: int) -> bytes:
    """The small text that git itself holds in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()


def git_blob_sha1(content: bytes) -> str:
    """git's name for a file of this content."""
    return _git_sha1("blob", content)


def git_tree_sha1(files: Mapping[str, str]) -> str:
    """git's name for a folder, from the git hash of each file (of mode 644) by its path inside the folder."""
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
