"""Reads what a cache holds: repositories, their snapshots and refs, unfinished files."""

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.hub.cache.disk import allocated_bytes, entries, file_status, files_below, size_of
from modelyard.hub.cache.layout import PART_SUFFIX, CacheLayout, repo_id_of
from modelyard.hub.names import RemoteFile


@dataclass(frozen=True)
class Partial:
    """A file that is not complete yet."""

    repo_id: str
    blob: str
    path: Path
    size_bytes: int
    age_seconds: float


@dataclass(frozen=True)
class CachedSnapshot:
    commit: str
    refs: tuple[str, ...]
    files: tuple[str, ...]
    size_bytes: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class CachedRepo:
    """One repository of the cache. `problem` says what is wrong with its folder, None if nothing is."""

    repo_id: str
    folder: Path
    snapshots: tuple[CachedSnapshot, ...]
    size_bytes: int
    partial_bytes: int
    problem: str | None = None


@dataclass
class SnapshotContents:
    """What a snapshot folder holds: path → blob (or the file itself where it is no link)."""

    blobs: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def scan_repo(folder: Path) -> CachedRepo:
    """Read one repository; what is wrong with its folder goes into `problem`."""
    problem = None
    snapshots = []
    refs = refs_of(folder)
    blobs: set[Path] = set()
    snapshot_root = folder / "snapshots"
    if folder.is_symlink() or not snapshot_root.is_dir():
        problem = "it has no snapshots folder" if not folder.is_symlink() else "its folder is a link"
    for path in entries(snapshot_root):
        if path.is_symlink() or not path.is_dir():
            problem = f"snapshots/{path.name} is not a folder"
            continue
        contents = read_snapshot(path)
        blobs.update(contents.blobs.values())
        if contents.missing:
            problem = f"{len(contents.missing)} of its links lead nowhere"
        names = [ref.relative_to(folder / "refs").as_posix() for ref, target in refs if target == path.name]
        snapshots.append(_cached_snapshot(path.name, names, contents))
    partial_bytes = sum(
        allocated_bytes(status)
        for path in entries(folder / "blobs")
        if path.name.endswith((PART_SUFFIX, ".incomplete")) and (status := file_status(path))
    )
    return CachedRepo(
        repo_id=repo_id_of(folder),
        folder=folder,
        snapshots=tuple(sorted(snapshots, key=lambda snapshot: snapshot.commit)),
        size_bytes=sum(size_of(blob) for blob in blobs),
        partial_bytes=partial_bytes,
        problem=problem,
    )


def _cached_snapshot(commit: str, refs: Sequence[str], contents: SnapshotContents) -> CachedSnapshot:
    return CachedSnapshot(
        commit=commit,
        refs=tuple(refs),
        files=tuple(sorted(contents.blobs)),
        size_bytes=sum(size_of(blob) for blob in set(contents.blobs.values())),
        missing=tuple(sorted(contents.missing)),
    )


def partials(cache: CacheLayout, repo_id: str | None = None) -> list[Partial]:
    """Return the files of unfinished downloads, of one repository or of all."""
    folders = [cache.repo_folder(repo_id)] if repo_id else cache.repo_folders()
    found = []
    for folder in folders:
        for path in entries(folder / "blobs"):
            if path.name.endswith(PART_SUFFIX) and (status := file_status(path)) and stat.S_ISREG(status.st_mode):
                found.append(
                    Partial(
                        repo_id=repo_id_of(folder),
                        blob=path.name.removesuffix(PART_SUFFIX),
                        path=path,
                        size_bytes=allocated_bytes(status),
                        age_seconds=max(0.0, time.time() - status.st_mtime),
                    )
                )
    return sorted(found, key=lambda partial: str(partial.path))


def snapshot_bytes(cache: CacheLayout, repo_id: str, commit: str, files: Sequence[RemoteFile] = ()) -> int:
    """Return the bytes on disk of a snapshot; a blob that several of its paths share counts once.

    `files` is its manifest: where links cannot be made, the blobs that it holds copies of count as well.
    """
    contents = read_snapshot(cache.snapshot_path(repo_id, commit))
    return sum(size_of(blob) for blob in {*contents.blobs.values(), *copied_blobs(cache, repo_id, commit, files)})


def copied_blobs(cache: CacheLayout, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> set[Path]:
    """Return the blobs of which a snapshot holds copies instead of links."""
    snapshot = cache.snapshot_path(repo_id, commit)
    blobs = {cache.blob_path(repo_id, file.blob): snapshot / file.path for file in files}
    return {blob for blob, path in blobs.items() if path.is_file() and not path.is_symlink() and blob.is_file()}


def read_snapshot(snapshot: Path) -> SnapshotContents:
    """Return what a snapshot folder holds; nothing where it is missing, a link or not readable."""
    contents = SnapshotContents()
    for path in files_below(snapshot):
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


def refs_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the refs of a repository's folder: the file of each, and the commit it leads to."""
    found = ((path, read_ref(path)) for path in files_below(folder / "refs"))
    return [(path, commit) for path, commit in found if commit is not None]


def read_ref(path: Path) -> str | None:
    """Return the commit that the file of a ref leads to; None where it is missing or not readable."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
