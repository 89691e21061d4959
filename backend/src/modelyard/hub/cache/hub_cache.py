"""The standard Hugging Face cache layout on disk: blobs, snapshots of links to them, refs; what may be deleted."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import _shared_blobs as shared_store

from modelyard.core import locks, units
from modelyard.core.errors import Conflict, DiskFull, HubMisbehaved
from modelyard.core.storage import DISK_FULL, require_usable, storage_error, storage_errors
from modelyard.hub.names import RemoteFile, validate_commit, validate_path, validate_repo_id, validate_revision

PART_SUFFIX = ".modelyard.part"
JOURNAL_SUFFIX = ".modelyard.json"
HASH_CHUNK_BYTES = 1 << 20

Identity = tuple[int, int, int, int]
"""Of a file: size in bytes, time of its last change in ns, inode, device."""

_BLOB_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# A blob whose size, time of change and inode still equal this attribute was hashed before and need not be again.
_VERIFIED_ATTRIBUTE = "user.modelyard.verified"
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EROFS, errno.ENODATA, errno.ENOSPC}


@dataclass(frozen=True)
class Partial:
    """A file that is not complete yet."""

    repo_id: str
    blob: str
    path: Path
    size_bytes: int
    age_seconds: float


@dataclass(frozen=True)
class Kept:
    """Bytes that a deletion leaves on disk, and why."""

    bytes: int
    reason: str


@dataclass(frozen=True)
class DeletionPlan:
    """What removing one snapshot does; nothing is touched before `HubCache.execute_deletion`."""

    repo_id: str
    commit: str
    freed_bytes: int
    kept_bytes: int
    kept_because: tuple[Kept, ...]
    snapshot: Path | None
    blobs: tuple[Path, ...]
    refs: tuple[Path, ...]


@dataclass(frozen=True)
class CachedSnapshot:
    commit: str
    refs: tuple[str, ...]
    files: tuple[str, ...]
    size_bytes: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class CachedRepo:
    """One repository of the cache. `problem` says in words what is wrong with its folder, if anything."""

    repo_id: str
    folder: Path
    snapshots: tuple[CachedSnapshot, ...]
    size_bytes: int
    partial_bytes: int
    problem: str | None = None


@dataclass(frozen=True)
class Inventory:
    """Which files of a list are in a snapshot with the right size."""

    present: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]

    @property
    def present_bytes(self) -> int:
        return sum(file.size_bytes for file in self.present)

    @property
    def missing_bytes(self) -> int:
        """Bytes still to be fetched; content that several paths share counts once."""
        return sum({file.blob: file.size_bytes for file in self.missing}.values())


@dataclass
class _Contents:
    """What a snapshot folder holds: path → blob (or the file itself where it is no link)."""

    blobs: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class HubCache:
    """A cache directory in huggingface_hub's layout.

    Below `cache_dir` no symbolic link is followed for writing: a link that leads out of the cache must not
    turn a download into a write somewhere else. `cache_dir` itself may be one.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir.expanduser().absolute()

    def repo_folder(self, repo_id: str) -> Path:
        validate_repo_id(repo_id)
        return self.cache_dir / "--".join(["models", *repo_id.split("/")])

    def blob_path(self, repo_id: str, blob: str) -> Path:
        if not _BLOB_NAME.fullmatch(blob):
            raise HubMisbehaved(f"{ascii(blob)[:100]} is not a hash.")
        return self.repo_folder(repo_id) / "blobs" / blob

    def part_path(self, repo_id: str, blob: str) -> Path:
        path = self.blob_path(repo_id, blob)
        return path.with_name(path.name + PART_SUFFIX)

    def journal_path(self, repo_id: str, blob: str) -> Path:
        path = self.blob_path(repo_id, blob)
        return path.with_name(path.name + JOURNAL_SUFFIX)

    def snapshot_path(self, repo_id: str, commit: str) -> Path:
        validate_commit(commit)
        return self.repo_folder(repo_id) / "snapshots" / commit

    def prepare(self, repo_id: str) -> None:
        """Create the folders a download writes to. Raises Conflict where one of them is a link or a file."""
        with storage_errors(self.cache_dir):
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        for name in ("blobs", "snapshots", "refs"):
            self._make_folder(self.repo_folder(repo_id) / name)

    def write_ref(self, repo_id: str, revision: str, commit: str) -> None:
        """Let `revision` (a branch, a tag) lead to `commit`. A revision that is the commit itself needs no ref."""
        validate_revision(revision)
        validate_commit(commit)
        if revision == commit:
            return
        path = self.repo_folder(repo_id) / "refs" / revision
        self._make_folder(path.parent)
        if path.is_dir() and not path.is_symlink():
            raise Conflict(
                f"The revision {revision!r} clashes with another one in {path}.",
                hint="Delete the model that has the other revision, or ask for the commit.",
            )
        _write_atomically(path, _unique_beside(path), commit.encode())

    def link(self, repo_id: str, commit: str, file: RemoteFile) -> None:
        """Make a published blob appear under its name in the snapshot (a copy where links cannot be made).

        A snapshot that holds the file itself and no blob, as tools without symbolic links leave it, stays as it is.
        """
        validate_path(file.path)
        blob = self.blob_path(repo_id, file.blob)
        path = self.snapshot_path(repo_id, commit) / file.path
        self._make_folder(path.parent)
        target = os.path.relpath(blob, path.parent)
        if path.is_symlink() and os.readlink(path) == target:  # noqa: PTH115 - as text, to compare as text
            return
        if path.is_dir() and not path.is_symlink():
            raise Conflict(f"There is a folder where the file {path} belongs.", hint="Remove it, then retry.")
        if not blob.exists() and self.holds_copies(repo_id, commit, [file]):
            return
        try:
            _symlink(path, target)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise storage_error(error, path.parent) from error
            _replace_with_link_or_copy(path, target, blob)

    def inventory(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> Inventory:
        """Which of `files` the snapshot holds, judged by size alone (`verify_file` reads the content)."""
        snapshot = self.snapshot_path(repo_id, commit)
        present = [file for file in files if _has_size(snapshot / file.path, file.size_bytes)]
        found = {file.path for file in present}
        return Inventory(tuple(present), tuple(file for file in files if file.path not in found))

    def has_blob(self, repo_id: str, file: RemoteFile) -> bool:
        """Whether the content is in the cache with the right size, linked into a snapshot or not."""
        return _has_size(self.blob_path(repo_id, file.blob), file.size_bytes)

    def holds_copies(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> bool:
        """Whether a snapshot holds all these files themselves, not links to blobs, judged by size."""
        snapshot = self.snapshot_path(repo_id, commit)
        paths = [snapshot / file.path for file in files]
        return all(
            not path.is_symlink() and _has_size(path, file.size_bytes) for path, file in zip(paths, files, strict=True)
        )

    def verify_file(
        self, repo_id: str, commit: str, file: RemoteFile, *, on_bytes: Callable[[int], None] | None = None
    ) -> bool:
        """Read a file of a snapshot in full and say whether its size and hash are right.

        `on_bytes` is told how many bytes were read since its last call; what it raises ends the reading.
        """
        path = self.snapshot_path(repo_id, commit) / file.path
        return _has_size(path, file.size_bytes) and has_hash(path, file, on_bytes)

    def is_marked_verified(self, repo_id: str, file: RemoteFile) -> bool:
        """Whether Modelyard hashed this blob before and it has not changed since."""
        path = self.blob_path(repo_id, file.blob)
        try:
            return os.getxattr(path, _VERIFIED_ATTRIBUTE) == _verified_mark(path.stat())
        except (OSError, AttributeError):
            return False

    def mark_verified(self, repo_id: str, file: RemoteFile) -> None:
        """Remember on the blob itself that its hash was checked; does nothing where disks cannot, or without a blob."""
        path = self.blob_path(repo_id, file.blob)
        if not hasattr(os, "setxattr"):
            return
        try:
            os.setxattr(path, _VERIFIED_ATTRIBUTE, _verified_mark(path.stat()))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:
                raise

    def partials(self, repo_id: str | None = None) -> list[Partial]:
        """Files of unfinished downloads, of one repository or of all."""
        folders = [self.repo_folder(repo_id)] if repo_id else self._repo_folders()
        found = []
        for folder in folders:
            for path in _entries(folder / "blobs"):
                if path.name.endswith(PART_SUFFIX) and (status := _status(path)) and stat.S_ISREG(status.st_mode):
                    found.append(
                        Partial(
                            repo_id=_repo_id(folder),
                            blob=path.name.removesuffix(PART_SUFFIX),
                            path=path,
                            size_bytes=allocated_bytes(status),
                            age_seconds=max(0.0, time.time() - status.st_mtime),
                        )
                    )
        return sorted(found, key=lambda partial: str(partial.path))

    def remove_stale_journal(self, repo_id: str, blob: str) -> None:
        """Remove what a process that was killed while publishing left beside a finished blob."""
        journal = self.journal_path(repo_id, blob)
        if journal.exists() and not self.part_path(repo_id, blob).exists():
            remove_journal(journal)

    def remove_partials(self, repo_id: str, blobs: Collection[str] | None = None) -> int:
        """Remove unfinished files that nobody is writing; returns the bytes this freed."""
        freed = 0
        for partial in self.partials(repo_id):
            if blobs is None or partial.blob in blobs:
                freed += _remove_unlocked(partial)
        self._remove_if_empty(repo_id)
        return freed

    def remove_files(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> int:
        """Take files out of a snapshot, and their content where no other path or revision uses it.

        Returns the bytes freed.
        """
        folder, snapshot = self.repo_folder(repo_id), self.snapshot_path(repo_id, commit)
        self._refuse_links(snapshot)
        freed = 0
        for file in files:
            validate_path(file.path)
            path = snapshot / file.path
            if not path.is_symlink():
                freed += _size(path)
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
        used = {blob for other in _entries(folder / "snapshots") for blob in _read_snapshot(other).blobs.values()}
        for blob in {self.blob_path(repo_id, file.blob) for file in files} - used:
            if blob.exists():
                freed += self._remove_blob(blob)
        _remove_empty_folders(snapshot)
        self._remove_if_empty(repo_id)
        return freed

    def snapshot_bytes(self, repo_id: str, commit: str, files: Sequence[RemoteFile] = ()) -> int:
        """Bytes on disk of a snapshot; a blob that several of its paths share counts once.

        `files` is its manifest: where links cannot be made, the blobs that it holds copies of count as well.
        """
        contents = _read_snapshot(self.snapshot_path(repo_id, commit))
        return sum(_size(blob) for blob in {*contents.blobs.values(), *self._copied_blobs(repo_id, commit, files)})

    def _copied_blobs(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> set[Path]:
        """The blobs of which a snapshot holds copies instead of links."""
        snapshot = self.snapshot_path(repo_id, commit)
        blobs = {self.blob_path(repo_id, file.blob): snapshot / file.path for file in files}
        return {blob for blob, path in blobs.items() if path.is_file() and not path.is_symlink() and blob.is_file()}

    def plan_deletion(
        self,
        repo_id: str,
        commit: str,
        *,
        files: Sequence[RemoteFile] = (),
        also_needed_by: Collection[str] = (),
        reason: str = "another model uses it",
        after: Collection[DeletionPlan] = (),
        released: Set[Path] = frozenset(),
    ) -> DeletionPlan:
        """What deleting a snapshot frees, exactly, and what stays because something else uses it.

        `files` is its manifest, which tells the blobs of copies. `also_needed_by` names commits that must stay whole;
        with `commit` among them nothing is freed, and `reason` says so to the user. `after` are this repository's plans
        that will have been carried out by then, and `released` the content, also of other repositories, that will have
        been removed.
        """
        folder = self.repo_folder(repo_id)
        snapshot = self.snapshot_path(repo_id, commit)
        # A link that leads elsewhere (another repository, another disk) names nothing that is ours to remove.
        own = {
            blob
            for blob in _read_snapshot(snapshot).blobs.values()
            if blob.parent == folder / "blobs" or snapshot in blob.parents
        } | self._copied_blobs(repo_id, commit, files)
        if commit in also_needed_by:
            kept = sum(_size(blob) for blob in own)
            return DeletionPlan(repo_id, commit, 0, kept, (Kept(kept, reason),) if kept else (), None, (), ())

        others = {path.name: set(_read_snapshot(path).blobs.values()) for path in _entries(folder / "snapshots")}
        others.pop(commit, None)
        for plan in after:
            if plan.snapshot is not None:
                others.pop(plan.commit, None)
        kept_because = []
        free = set(own)
        for other, blobs in sorted(others.items()):
            shared = free & blobs
            free -= shared
            if shared:
                size = sum(_size(blob) for blob in shared)
                kept_because.append(Kept(size, f"revision {self._revision_name(folder, other)} uses it"))
        if not any(others.values()):
            # Nothing else is left, so content that no snapshot names (an interrupted download) goes as well.
            free |= {path for path in _entries(folder / "blobs") if _BLOB_NAME.fullmatch(path.name)}
        free = free.difference(released)
        blobs = {blob for blob in free if snapshot not in blob.parents}
        freed = self._freed_bytes(free, released)
        kept_by_store = sum(_size(blob) for blob in free) - freed
        if kept_by_store:
            kept_because.append(Kept(kept_by_store, "another repository in the cache uses the same content"))
        return DeletionPlan(
            repo_id=repo_id,
            commit=commit,
            freed_bytes=freed,
            kept_bytes=sum(kept.bytes for kept in kept_because),
            kept_because=tuple(kept_because),
            snapshot=snapshot,
            blobs=tuple(sorted(blobs)),
            refs=tuple(path for path, target in _refs(folder) if target == commit),
        )

    def require_removable(self, repo_id: str, commit: str) -> None:
        """Raise StorageDenied unless this process may take a snapshot and its blobs out of their folders.

        Raises Conflict where one of these folders is a link: what it leads to is not the cache's.
        """
        folder, snapshot = self.repo_folder(repo_id), self.snapshot_path(repo_id, commit)
        self._refuse_links(snapshot)
        for path in (folder, folder / "refs", folder / "blobs", snapshot.parent, snapshot):
            if path.is_dir():
                require_usable(path)

    def execute_deletion(self, plan: DeletionPlan) -> int:
        """Do what the plan says; returns the bytes freed. What was removed meanwhile is no error."""
        if plan.snapshot is None:
            return 0
        folder = self.repo_folder(plan.repo_id)
        self._refuse_links(plan.snapshot)
        freed = 0
        # The links first: whoever looks now finds no snapshot rather than one with broken links.
        for ref in plan.refs:
            ref.unlink(missing_ok=True)
        for path in _files_below(plan.snapshot):
            if not path.is_symlink():
                freed += _size(path)
        _remove_tree(plan.snapshot)
        _remove_tree(folder / ".no_exist" / plan.commit)
        (folder / "trees" / f"{plan.commit}.json").unlink(missing_ok=True)
        for blob in plan.blobs:
            freed += self._remove_blob(blob)
        self._remove_if_empty(plan.repo_id)
        return freed

    def scan(self) -> list[CachedRepo]:
        """Every model repository of the cache; damaged ones are reported, not raised."""
        return [self._scan_repo(folder) for folder in self._repo_folders()]

    def free_bytes(self) -> int:
        """Bytes this process may still write to the disk of the cache."""
        folder = self.cache_dir
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def ensure_free(self, needed_bytes: int, *, reserve_bytes: int) -> None:
        """Raise DiskFull unless `needed_bytes` fit and `reserve_bytes` remain after that."""
        free = self.free_bytes()
        if free < needed_bytes + reserve_bytes:
            if needed_bytes:
                reserve = f" and {units.size(reserve_bytes)} must stay free" if reserve_bytes else ""
                message = (
                    f"{units.size(needed_bytes)} are needed{reserve}, "
                    f"but the disk of {self.cache_dir} has {units.size(free)} free."
                )
            else:
                message = (
                    f"Only {units.size(free)} are left on the disk of {self.cache_dir}; "
                    f"Modelyard stops at {units.size(reserve_bytes)}, so that others can write."
                )
            raise DiskFull(
                message,
                folder=str(self.cache_dir),
                needed_bytes=needed_bytes,
                free_bytes=free,
                reserve_bytes=reserve_bytes,
            )

    def _scan_repo(self, folder: Path) -> CachedRepo:
        problem = None
        snapshots = []
        refs = _refs(folder)
        blobs: set[Path] = set()
        snapshot_root = folder / "snapshots"
        if folder.is_symlink() or not snapshot_root.is_dir():
            problem = "it has no snapshots folder" if not folder.is_symlink() else "its folder is a link"
        for path in _entries(snapshot_root):
            if path.is_symlink() or not path.is_dir():
                problem = f"snapshots/{path.name} is not a folder"
                continue
            contents = _read_snapshot(path)
            unique = set(contents.blobs.values())
            blobs |= unique
            if contents.missing:
                problem = f"{len(contents.missing)} of its links lead nowhere"
            snapshots.append(
                CachedSnapshot(
                    commit=path.name,
                    refs=tuple(
                        ref.relative_to(folder / "refs").as_posix() for ref, target in refs if target == path.name
                    ),
                    files=tuple(sorted(contents.blobs)),
                    size_bytes=sum(_size(blob) for blob in unique),
                    missing=tuple(sorted(contents.missing)),
                )
            )
        partial_bytes = sum(
            allocated_bytes(status)
            for path in _entries(folder / "blobs")
            if path.name.endswith((PART_SUFFIX, ".incomplete")) and (status := _status(path))
        )
        return CachedRepo(
            repo_id=_repo_id(folder),
            folder=folder,
            snapshots=tuple(sorted(snapshots, key=lambda snapshot: snapshot.commit)),
            size_bytes=sum(_size(blob) for blob in blobs),
            partial_bytes=partial_bytes,
            problem=problem,
        )

    def _repo_folders(self) -> list[Path]:
        return [path for path in _entries(self.cache_dir) if path.name.startswith("models--") and path.is_dir()]

    def _make_folder(self, folder: Path) -> None:
        """`mkdir -p` below the cache that refuses to pass through a link."""
        path = self.cache_dir
        for name in folder.relative_to(self.cache_dir).parts:
            path /= name
            with suppress(FileExistsError), storage_errors(path.parent):
                path.mkdir()
            self._refuse_links(path)

    def _refuse_links(self, folder: Path) -> None:
        for path in [folder, *folder.parents]:
            if path == self.cache_dir:
                return
            status = _status(path)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                raise Conflict(
                    f"{path} is not a plain folder, so nothing is written or removed below it.",
                    hint="Remove it, or replace it with a real folder (to use another disk, move the whole cache:"
                    " HF_HUB_CACHE).",
                )

    def _freed_bytes(self, paths: Collection[Path], released: Collection[Path] = ()) -> int:
        """`released` are blobs that will have been removed before."""
        freed = 0
        payloads = set()
        for path in paths:
            if not path.is_symlink():
                freed += _size(path)
            elif payload := shared_store.shared_blob_target(path, self.cache_dir):
                payloads.add(payload)
        for payload in payloads:
            freed += shared_store.expected_shared_blob_freed_size(
                payload, blob_paths_to_delete={*paths, *released}, cache_dir=self.cache_dir
            )
        return freed

    def _remove_blob(self, blob: Path) -> int:
        payload = shared_store.shared_blob_target(blob, self.cache_dir)
        freed = 0 if blob.is_symlink() else _size(blob)
        blob.unlink(missing_ok=True)
        if payload is not None:
            freed += shared_store.sweep_shared_blob(payload, cache_dir=self.cache_dir)
        return freed

    def _remove_if_empty(self, repo_id: str) -> None:
        """Remove the folders of a repository that hold nothing any more, and its own when all are gone."""
        folder = self.repo_folder(repo_id)
        if folder.is_symlink():
            return
        if not _entries(folder / "snapshots") and not _entries(folder / "blobs"):
            for name in ("refs", ".no_exist", "trees"):
                _remove_tree(folder / name)
        _remove_empty_folders(folder)

    def _revision_name(self, folder: Path, commit: str) -> str:
        names = [path.relative_to(folder / "refs").as_posix() for path, target in _refs(folder) if target == commit]
        return f"{commit[:12]} ({', '.join(names)})" if names else commit[:12]


def content_hasher(file: RemoteFile) -> "hashlib._Hash":
    """The hash that verifies a file, ready for its content: sha256, or git's blob hash of a small file."""
    if file.sha256 is not None:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)


def has_hash(path: Path, file: RemoteFile, on_bytes: Callable[[int], None] | None = None) -> bool:
    """Read `path` in full and say whether it has the content that `file` names."""
    hasher = content_hasher(file)
    with path.open("rb", buffering=0) as source:
        while chunk := source.read(HASH_CHUNK_BYTES):
            hasher.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return hasher.hexdigest() == file.blob


def write_journal(path: Path, content: Mapping[str, object], *, durable: bool) -> None:
    """Replace the journal of an unfinished file, for its owner alone. Raises DiskFull, StorageDenied."""
    temporary = _journal_draft(path)
    # Left by a process that was killed; a link there is removed, not followed.
    with storage_errors(path.parent):
        temporary.unlink(missing_ok=True)
    _write_atomically(path, temporary, json.dumps(content).encode(), durable=durable)


def overwrite_journal(path: Path, content: Mapping[str, object]) -> None:
    """The same in place, for a disk without room for a second copy. Raises DiskFull, StorageDenied."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "wb", closefd=True) as output:  # noqa: PTH123 - of a descriptor
            output.write(json.dumps(content).encode())
            output.truncate()


def remove_journal(path: Path) -> None:
    _journal_draft(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _journal_draft(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def _write_atomically(path: Path, temporary: Path, content: bytes, *, durable: bool = False) -> None:
    with storage_errors(path.parent):
        try:
            with temporary.open("xb") as output:
                output.write(content)
                if durable:
                    output.flush()
                    os.fsync(output.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _symlink(path: Path, target: str) -> None:
    """Raise OSError also where the user wants no links, as for huggingface_hub."""
    if constants.HF_HUB_DISABLE_SYMLINKS:
        raise OSError(errno.ENOTSUP, "HF_HUB_DISABLE_SYMLINKS is set")
    path.symlink_to(target)


def _replace_with_link_or_copy(path: Path, target: str, blob: Path) -> None:
    """For what cannot be linked just so: another file is in the way, or the disk knows no links."""
    temporary = _unique_beside(path)
    with storage_errors(path.parent):
        try:
            try:
                _symlink(temporary, target)
            except OSError:
                shutil.copyfile(blob, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _unique_beside(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def allocated_bytes(status: os.stat_result) -> int:
    """Bytes a file really takes: an unfinished one has holes."""
    return min(status.st_size, status.st_blocks * 512)


def read_journal(path: Path) -> dict[str, object]:
    """The journal of an unfinished file; empty if there is none, or it cannot be read or makes no sense.

    Raises Conflict if something that is not a file lies in its place.
    """
    status = _status(path)
    if status is None:
        return {}
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
        raise Conflict(f"{path} is not a file of Modelyard's.", hint="Remove it, then retry.")
    try:
        content = json.loads(path.read_bytes()) if not stat.S_ISLNK(status.st_mode) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _remove_unlocked(partial: Partial) -> int:
    try:
        descriptor = os.open(partial.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        locks.lock(descriptor)
        freed = allocated_bytes(os.fstat(descriptor))
        remove_journal(partial.path.with_name(partial.blob + JOURNAL_SUFFIX))
        partial.path.unlink(missing_ok=True)
    except BlockingIOError:
        return 0
    finally:
        locks.close(descriptor)
    return freed


def identity(status: os.stat_result) -> Identity:
    """Return what tells whether a file is still the one that was hashed."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def is_same_file(seen: Identity, now: Identity) -> bool:
    """Compare two identities; on another disk, to which a cache was moved, inodes say nothing."""
    return seen[:2] == now[:2] and (seen[3] != now[3] or seen[2] == now[2])


def _verified_mark(status: os.stat_result) -> bytes:
    return b"%d:%d:%d" % identity(status)[:3]


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted; nothing where it is missing, a link or not readable."""
    if folder.is_symlink():
        return []
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _files_below(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path)
        else:
            yield path


def _read_snapshot(snapshot: Path) -> _Contents:
    contents = _Contents()
    for path in _files_below(snapshot):
        name = path.relative_to(snapshot).as_posix()
        # One step only: a blob may itself be a link into the store that repositories share.
        blob = path
        if path.is_symlink():
            blob = Path(os.path.abspath(path.parent / path.readlink()))  # noqa: PTH100 - resolve() follows all links
        if blob.exists():
            contents.blobs[name] = blob
        else:
            contents.missing.append(name)
    return contents


def _refs(folder: Path) -> list[tuple[Path, str]]:
    found = []
    for path in _files_below(folder / "refs"):
        try:
            found.append((path, path.read_text().strip()))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _remove_tree(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _remove_empty_folders(folder: Path) -> None:
    for path in _entries(folder):
        if path.is_dir() and not path.is_symlink():
            _remove_empty_folders(path)
    with suppress(OSError):
        folder.rmdir()


def _repo_id(folder: Path) -> str:
    return folder.name.removeprefix("models--").replace("--", "/")
