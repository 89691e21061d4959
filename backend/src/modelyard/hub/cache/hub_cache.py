"""The Hugging Face cache on disk, as a download, a scan and a deletion use it."""

import os
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import Conflict
from modelyard.core.storage import DISK_FULL, ensure_free, free_bytes, storage_error, storage_errors
from modelyard.hub.cache import deletion, disk, hashing, scan, sharing
from modelyard.hub.cache.deletion import DeletionPlan
from modelyard.hub.cache.layout import CacheLayout
from modelyard.hub.cache.scan import CachedRepo, Partial
from modelyard.hub.names import RemoteFile, validate_commit, validate_path, validate_revision


@dataclass(frozen=True)
class Inventory:
    """The files of a list that a snapshot has with the right size."""

    present: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]

    @property
    def present_bytes(self) -> int:
        return sum(file.size_bytes for file in self.present)

    @property
    def missing_bytes(self) -> int:
        """Return the bytes still to fetch; content that several paths share counts once."""
        return sum({file.blob: file.size_bytes for file in self.missing}.values())


class HubCache(CacheLayout):
    """A cache directory in huggingface_hub's layout.

    Below `cache_dir` no symbolic link is followed for writing: a link that leads out of the cache must not
    turn a download into a write somewhere else. `cache_dir` itself may be one.
    """

    def prepare(self, repo_id: str) -> None:
        """Create the folders a download writes to. Raises Conflict where one of them is a link or a file."""
        with storage_errors(self.cache_dir):
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        for name in ("blobs", "snapshots", "refs"):
            disk.make_folder(self.repo_folder(repo_id) / name, below=self.cache_dir)

    def write_ref(self, repo_id: str, revision: str, commit: str) -> None:
        """Make `revision` (a branch, a tag) point to `commit`. A revision that is the commit itself needs no ref."""
        validate_revision(revision)
        validate_commit(commit)
        if revision == commit:
            return
        path = self.repo_folder(repo_id) / "refs" / revision
        disk.make_folder(path.parent, below=self.cache_dir)
        if path.is_dir() and not path.is_symlink():
            raise Conflict(
                f"The revision {revision!r} clashes with another one in {path}.",
                hint="Delete the model that has the other revision, or ask for the commit.",
            )
        disk.write_atomically(path, disk.unique_beside(path), commit.encode())

    def has_ref(self, repo_id: str, revision: str) -> bool:
        """Return whether `revision` is the name of a commit here."""
        validate_revision(revision)
        return os.path.lexists(self.repo_folder(repo_id) / "refs" / revision)

    def read_ref(self, repo_id: str, revision: str) -> str | None:
        """Return the commit that `revision` leads to; None where there is no such ref, or it cannot be read."""
        validate_revision(revision)
        return scan.read_ref(self.repo_folder(repo_id) / "refs" / revision)

    def link(self, repo_id: str, commit: str, file: RemoteFile) -> None:
        """Make a published blob appear under its name in the snapshot (a copy where links cannot be made).

        A snapshot that holds the file itself and no blob, as tools without symbolic links leave it, stays as it is.
        """
        validate_path(file.path)
        blob = self.blob_path(repo_id, file.blob)
        path = self.snapshot_path(repo_id, commit) / file.path
        disk.make_folder(path.parent, below=self.cache_dir)
        target = os.path.relpath(blob, path.parent)
        if path.is_symlink() and os.readlink(path) == target:  # noqa: PTH115 - as text, to compare as text
            return
        if path.is_dir() and not path.is_symlink():
            raise Conflict(f"There is a folder where the file {path} belongs.", hint="Remove it, then retry.")
        if not blob.exists() and self.holds_copies(repo_id, commit, [file]):
            return
        try:
            disk.symlink(path, target)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise storage_error(error, path.parent) from error
            disk.replace_with_link_or_copy(path, target, blob)

    def inventory(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> Inventory:
        """Find which of `files` the snapshot holds, judged by size alone (`verify_file` reads the content)."""
        snapshot = self.snapshot_path(repo_id, commit)
        present = [file for file in files if disk.has_size(snapshot / file.path, file.size_bytes)]
        found = {file.path for file in present}
        return Inventory(tuple(present), tuple(file for file in files if file.path not in found))

    def has_blob(self, repo_id: str, file: RemoteFile) -> bool:
        """Return whether the content is in the cache with the right size, linked into a snapshot or not."""
        return disk.has_size(self.blob_path(repo_id, file.blob), file.size_bytes)

    def find_elsewhere(self, repo_id: str, files: Sequence[RemoteFile]) -> dict[str, Path]:
        """Find the files' content in other repositories of the cache, judged by name and size; one path per blob."""
        return sharing.find_elsewhere(self, repo_id, files)

    def link_content(self, repo_id: str, file: RemoteFile, source: Path) -> bool:
        """Name content of another repository as the blob of `file`; returns whether that could be done.

        The hash is not checked here.
        """
        return sharing.link_content(source, self.blob_path(repo_id, file.blob), file.size_bytes)

    def holds_copies(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> bool:
        """Return whether a snapshot holds all these files themselves, not links to blobs, judged by size."""
        snapshot = self.snapshot_path(repo_id, commit)
        return all(
            not (snapshot / file.path).is_symlink() and disk.has_size(snapshot / file.path, file.size_bytes)
            for file in files
        )

    def verify_file(
        self, repo_id: str, commit: str, file: RemoteFile, *, on_bytes: Callable[[int], None] | None = None
    ) -> bool:
        """Return whether a file of a snapshot, read in full, has the right size and hash.

        `on_bytes` is called with how many bytes were read since its last call; what it raises ends the reading.
        """
        path = self.snapshot_path(repo_id, commit) / file.path
        return disk.has_size(path, file.size_bytes) and hashing.has_hash(path, file, on_bytes)

    def is_marked_verified(self, repo_id: str, file: RemoteFile) -> bool:
        """Return whether Modelyard hashed the blob of `file` before and it has not changed since."""
        return hashing.is_marked_verified(self.blob_path(repo_id, file.blob))

    def mark_verified(self, repo_id: str, file: RemoteFile) -> None:
        """Remember that the hash of the blob of `file` was checked, if there is a blob."""
        hashing.mark_verified(self.blob_path(repo_id, file.blob))

    def scan(self) -> list[CachedRepo]:
        """Return every model repository of the cache; damaged ones are reported, not raised."""
        return [scan.scan_repo(folder) for folder in self.repo_folders()]

    def partials(self, repo_id: str | None = None) -> list[Partial]:
        """Return the files of unfinished downloads, of one repository or of all."""
        return scan.partials(self, repo_id)

    def snapshot_bytes(self, repo_id: str, commit: str, files: Sequence[RemoteFile] = ()) -> int:
        """Return the bytes on disk of a snapshot; a blob that several of its paths share counts once.

        `files` is its manifest: where links cannot be made, the blobs that it holds copies of count as well.
        """
        return scan.snapshot_bytes(self, repo_id, commit, files)

    def free_bytes(self) -> int:
        """Return how many bytes this process may still write to the disk of the cache."""
        return free_bytes(self.cache_dir)

    def ensure_free(self, needed_bytes: int, *, reserve_bytes: int) -> None:
        """Raise DiskFull unless `needed_bytes` fit and `reserve_bytes` remain after that."""
        ensure_free(self.cache_dir, needed_bytes, reserve_bytes=reserve_bytes)

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
        """Find what deleting a snapshot frees, exactly, and what stays because something else uses it.

        `files` is its manifest, which tells the blobs of copies. `also_needed_by` names commits that must stay whole;
        with `commit` among them nothing is freed, and `reason` says so to the user. `after` are this repository's plans
        that will have been carried out by then, and `released` the content, also of other repositories, that will have
        been removed.
        """
        return deletion.plan_deletion(
            self,
            repo_id,
            commit,
            files=files,
            also_needed_by=also_needed_by,
            reason=reason,
            after=after,
            released=released,
        )

    def require_removable(self, repo_id: str, commit: str) -> None:
        """Raise StorageDenied unless this process may take a snapshot and its blobs out of their folders.

        Raises Conflict where one of these folders is a link: what it leads to is not the cache's.
        """
        deletion.require_removable(self, repo_id, commit)

    def execute_deletion(self, plan: DeletionPlan) -> int:
        """Carry out the plan; returns the bytes freed. Files removed meanwhile are no error."""
        return deletion.execute_deletion(self, plan)

    def remove_files(self, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> int:
        """Take files out of a snapshot, and their content where no other path or revision uses it.

        Returns the bytes freed.
        """
        return deletion.remove_files(self, repo_id, commit, files)

    def remove_partials(self, repo_id: str, blobs: Collection[str] | None = None) -> int:
        """Remove unfinished files that nobody is writing; returns the bytes this freed."""
        return deletion.remove_partials(self, repo_id, blobs)

    def remove_stale_journal(self, repo_id: str, blob: str) -> None:
        """Remove what a process that was killed while publishing left beside a finished blob."""
        deletion.remove_stale_journal(self, repo_id, blob)
