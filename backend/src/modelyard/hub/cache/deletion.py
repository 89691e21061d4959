"""Removes snapshots, files and unfinished downloads, and plans what that frees."""

import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.core import locks
from modelyard.core.storage import require_usable
from modelyard.hub._hf_private import expected_shared_blob_freed_size, shared_blob_target, sweep_shared_blob
from modelyard.hub.cache.disk import (
    allocated_bytes,
    entries,
    file_status,
    files_below,
    refuse_links,
    remove_empty_folders,
    remove_tree,
    size_of,
)
from modelyard.hub.cache.journal import remove_journal
from modelyard.hub.cache.layout import BLOB_NAME, JOURNAL_SUFFIX, CacheLayout
from modelyard.hub.cache.scan import Partial, copied_blobs, partials, read_snapshot, refs_of
from modelyard.hub.names import RemoteFile, validate_path


@dataclass(frozen=True)
class Kept:
    """Bytes that a deletion leaves on disk, and why."""

    bytes: int
    reason: str


@dataclass(frozen=True)
class DeletionPlan:
    """The plan of removing one snapshot; nothing is changed before `HubCache.execute_deletion`."""

    repo_id: str
    commit: str
    freed_bytes: int
    kept_bytes: int
    kept_because: tuple[Kept, ...]
    snapshot: Path | None
    blobs: tuple[Path, ...]
    refs: tuple[Path, ...]


def plan_deletion(
    cache: CacheLayout,
    repo_id: str,
    commit: str,
    *,
    files: Sequence[RemoteFile],
    also_needed_by: Collection[str],
    reason: str,
    after: Collection[DeletionPlan],
    released: Set[Path],
) -> DeletionPlan:
    """Plan what `HubCache.plan_deletion` describes."""
    folder = cache.repo_folder(repo_id)
    snapshot = cache.snapshot_path(repo_id, commit)
    own = _own_content(folder, snapshot) | copied_blobs(cache, repo_id, commit, files)
    if commit in also_needed_by:
        kept = sum(size_of(blob) for blob in own)
        return DeletionPlan(repo_id, commit, 0, kept, (Kept(kept, reason),) if kept else (), None, (), ())

    removed_before = {plan.commit for plan in after if plan.snapshot is not None}
    others = _other_revisions(folder, {commit, *removed_before})
    free = own.difference(*others.values())
    if not any(others.values()):
        # Nothing else is left, so content that no snapshot names (an interrupted download) goes as well.
        free |= {path for path in entries(folder / "blobs") if BLOB_NAME.fullmatch(path.name)}
    free = free.difference(released)
    freed = _freed_bytes(cache, free, released)
    kept_because = _kept_by_revisions(folder, own, others)
    kept_by_store = sum(size_of(blob) for blob in free) - freed
    if kept_by_store:
        kept_because.append(Kept(kept_by_store, "the same content is linked elsewhere, such as in another repository"))
    return DeletionPlan(
        repo_id=repo_id,
        commit=commit,
        freed_bytes=freed,
        kept_bytes=sum(kept.bytes for kept in kept_because),
        kept_because=tuple(kept_because),
        snapshot=snapshot,
        blobs=tuple(sorted(blob for blob in free if snapshot not in blob.parents)),
        refs=tuple(path for path, target in refs_of(folder) if target == commit),
    )


def require_removable(cache: CacheLayout, repo_id: str, commit: str) -> None:
    """Raise StorageDenied unless this process may take a snapshot and its blobs out of their folders.

    Raises Conflict where one of these folders is a link: what it leads to is not the cache's.
    """
    folder, snapshot = cache.repo_folder(repo_id), cache.snapshot_path(repo_id, commit)
    refuse_links(snapshot, below=cache.cache_dir)
    for path in (folder, folder / "refs", folder / "blobs", snapshot.parent, snapshot):
        if path.is_dir():
            require_usable(path)


def execute_deletion(cache: CacheLayout, plan: DeletionPlan) -> int:
    """Carry out the plan; returns the bytes freed. Files removed meanwhile are no error."""
    if plan.snapshot is None:
        return 0
    folder = cache.repo_folder(plan.repo_id)
    refuse_links(plan.snapshot, below=cache.cache_dir)
    freed = 0
    # The links first: whoever looks now finds no snapshot rather than one with broken links.
    for ref in plan.refs:
        ref.unlink(missing_ok=True)
    for path in files_below(plan.snapshot):
        freed += _freed_by(path)
    remove_tree(plan.snapshot)
    remove_tree(folder / ".no_exist" / plan.commit)
    (folder / "trees" / f"{plan.commit}.json").unlink(missing_ok=True)
    for blob in plan.blobs:
        freed += remove_blob(cache, blob)
    _remove_if_empty(cache, plan.repo_id)
    return freed


def remove_stale_journal(cache: CacheLayout, repo_id: str, blob: str) -> None:
    """Remove what a process that was killed while publishing left beside a finished blob."""
    journal = cache.journal_path(repo_id, blob)
    if journal.exists() and not cache.part_path(repo_id, blob).exists():
        remove_journal(journal)


def remove_partials(cache: CacheLayout, repo_id: str, blobs: Collection[str] | None = None) -> int:
    """Remove unfinished files that nobody is writing; returns the bytes this freed."""
    freed = 0
    for partial in partials(cache, repo_id):
        if blobs is None or partial.blob in blobs:
            freed += _remove_unlocked(partial)
    _remove_if_empty(cache, repo_id)
    return freed


def remove_files(cache: CacheLayout, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> int:
    """Take files out of a snapshot, and their content where no other path or revision uses it.

    Returns the bytes freed.
    """
    folder, snapshot = cache.repo_folder(repo_id), cache.snapshot_path(repo_id, commit)
    refuse_links(snapshot, below=cache.cache_dir)
    freed = 0
    for file in files:
        validate_path(file.path)
        path = snapshot / file.path
        freed += _freed_by(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
    used = {blob for other in entries(folder / "snapshots") for blob in read_snapshot(other).blobs.values()}
    for blob in {cache.blob_path(repo_id, file.blob) for file in files} - used:
        if blob.exists():
            freed += remove_blob(cache, blob)
    remove_empty_folders(snapshot)
    _remove_if_empty(cache, repo_id)
    return freed


def _own_content(folder: Path, snapshot: Path) -> set[Path]:
    """Return the content of a snapshot that is its repository's.

    A link that leads elsewhere (another repository, another disk) names nothing that is ours to remove.
    """
    blobs = read_snapshot(snapshot).blobs.values()
    return {blob for blob in blobs if blob.parent == folder / "blobs" or snapshot in blob.parents}


def _other_revisions(folder: Path, without: Set[str]) -> dict[str, set[Path]]:
    """Return the blobs of every snapshot of a repository but those of some commits."""
    snapshots = [path for path in entries(folder / "snapshots") if path.name not in without]
    return {path.name: set(read_snapshot(path).blobs.values()) for path in snapshots}


def _kept_by_revisions(folder: Path, own: Set[Path], others: Mapping[str, Set[Path]]) -> list[Kept]:
    """Return what other revisions keep; content that several of them use counts for the first."""
    kept_because = []
    left = set(own)
    for other, blobs in sorted(others.items()):
        shared = left & blobs
        left -= shared
        if shared:
            size = sum(size_of(blob) for blob in shared)
            kept_because.append(Kept(size, f"revision {_revision_name(folder, other)} uses it"))
    return kept_because


def _revision_name(folder: Path, commit: str) -> str:
    names = [path.relative_to(folder / "refs").as_posix() for path, target in refs_of(folder) if target == commit]
    return f"{commit[:12]} ({', '.join(names)})" if names else commit[:12]


def _freed_bytes(cache: CacheLayout, paths: Collection[Path], released: Collection[Path] = ()) -> int:
    """Return what removing blobs frees; `released` are those that will have been removed before."""
    gone = {*paths, *released}
    payloads = {path: shared_blob_target(path, cache.cache_dir) for path in gone if path.is_symlink()}
    swept = {
        payload
        for payload in set(payloads.values())
        if payload and expected_shared_blob_freed_size(payload, blob_paths_to_delete=gone, cache_dir=cache.cache_dir)
    }
    # Content is gone with the last of its names, which other repositories may have.
    removed = Counter(status.st_ino for path in gone | swept if (status := _content_status(path)))
    own = {*paths, *swept.intersection(payloads.get(path) for path in paths)}
    freed = {
        status.st_ino: status.st_size
        for path in own
        if (status := _content_status(path)) and status.st_nlink <= removed[status.st_ino]
    }
    return sum(freed.values())


def _content_status(path: Path) -> os.stat_result | None:
    """Return the status of a file; None of a link or of what is missing."""
    status = file_status(path)
    return status if status and stat.S_ISREG(status.st_mode) else None


def _freed_by(path: Path) -> int:
    """Return what removing a file frees: nothing where it is a link, or not the only name of its content."""
    status = _content_status(path)
    return status.st_size if status and status.st_nlink == 1 else 0


def remove_blob(cache: CacheLayout, blob: Path) -> int:
    """Remove a blob, and the content that repositories share when no other one uses it; returns the bytes freed."""
    payload = shared_blob_target(blob, cache.cache_dir)
    freed = _freed_by(payload or blob)
    blob.unlink(missing_ok=True)
    if payload is not None and not sweep_shared_blob(payload, cache_dir=cache.cache_dir):
        return 0
    return freed


def _remove_if_empty(cache: CacheLayout, repo_id: str) -> None:
    """Remove the folders of a repository that hold nothing any more, and its own when all are gone."""
    folder = cache.repo_folder(repo_id)
    if folder.is_symlink():
        return
    if not entries(folder / "snapshots") and not entries(folder / "blobs"):
        for name in ("refs", ".no_exist", "trees"):
            remove_tree(folder / name)
    remove_empty_folders(folder)


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
