"""What a row's files take up on the disk, and what of them is to be removed; nothing here talks to the database.

Looking at ten thousand files, or removing them, takes long on a slow disk, and whoever writes to the database lets
everybody else wait. So files are looked at before the transaction that writes down what was found, and removed after
the one that decided it (`services.model_actions`).
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.storage import storage_errors
from modelyard.hub.names import RemoteFile
from modelyard.hub.store import HubCache


@dataclass(frozen=True)
class FilesOnDisk:
    """What was found of a row's files."""

    whole: bool
    """All that is used of the row is there: its quantized copy, or its snapshot."""
    artifact_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Removal:
    """What nobody but one row needs, or needed, and is to go."""

    model_id: str
    commit: str
    partials: bool = False
    """The unfinished files of the repository."""
    files: Sequence[RemoteFile] | None = None
    """These files of the snapshot; None leaves it as it is."""
    snapshot: bool = False
    artifact: Path | None = None
    manifest: Sequence[RemoteFile] = ()
    """What the snapshot holds: where it holds copies, their blobs go as well."""

    def carry_out(self, cache: HubCache) -> None:
        """Remove the files; what is gone already is no error, so it may be done again. Raises StorageError."""
        with storage_errors():
            if self.partials:
                cache.remove_partials(self.model_id)
            if self.files is not None:
                cache.remove_files(self.model_id, self.commit, self.files)
            if self.snapshot:
                cache.execute_deletion(cache.plan_deletion(self.model_id, self.commit, files=self.manifest))
            if self.artifact is not None:
                remove_artifact(self.artifact)


def remove_artifact(folder: Path) -> None:
    """Remove a quantized copy; its name goes first, so that it is never there in part."""
    doomed = folder.with_name(f"{folder.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(doomed)
        shutil.rmtree(doomed)
