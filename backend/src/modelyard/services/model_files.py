"""What a row's files take up on the disk, and what of them is to be removed; nothing here talks to the database.

Looking at ten thousand files, or removing them, takes long on a slow disk, and whoever writes to the database lets
everybody else wait. So files are looked at before the transaction that writes down what was found, and removed after
the one that decided it (`services.model_actions`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.settings import get_settings
from modelyard.core.storage import remove_folder, storage_errors
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import Model, ModelStatus, Quantization
from modelyard.services.imported_files import changed_file

ARTIFACT_MANIFEST = "modelyard.json"


def weight_files(row: Model, snapshot: Path) -> dict[str, Path]:
    """The safetensors of a row's snapshot by name, on the disk or not."""
    return {file.path: snapshot / file.path for file in manifest(row) if file.path.endswith(".safetensors")}


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
                remove_folder(self.artifact)


def manifest(model: Model) -> list[RemoteFile]:
    """The files a model's snapshot must hold; empty until its download has begun."""
    return remote_files(model.files or ())


def remote_files(entries: Sequence[Mapping[str, Any]]) -> list[RemoteFile]:
    """The files of a stored manifest."""
    return [RemoteFile(file["path"], file["size_bytes"], file["sha256"], file["git_sha1"]) for file in entries]


def artifact_of(model: Model) -> Path | None:
    """The folder of a row's quantized copy, once that was made."""
    return None if model.artifact_path is None else get_settings().artifacts_folder / model.artifact_path


def artifact_files(model: Model) -> list[Path]:
    """The files of a row's quantized copy; empty where it is missing or not whole."""
    folder = artifact_of(model)
    if folder is None:
        return []
    try:
        listed = json.loads((folder / ARTIFACT_MANIFEST).read_bytes())["files"]
        whole = all((folder / name).stat().st_size == file["size_bytes"] for name, file in listed.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # gone, or no longer what was written
        return []
    return [folder / ARTIFACT_MANIFEST, *(folder / name for name in listed)] if whole else []


def is_copy(model: Model) -> bool:
    """Return whether a row is a quantized copy that is whole: it runs without the files it was made of."""
    return (
        model.quantization is not Quantization.NONE
        and model.status is ModelStatus.READY
        and bool(artifact_files(model))
    )


def is_whole(cache: HubCache, model: Model) -> bool:
    """Whether what is used of a row is on the disk: its quantized copy, or its snapshot."""
    if model.quantization is not Quantization.NONE:
        return bool(artifact_files(model))
    missing = cache.inventory(model.model_id, model.commit, manifest(model)).missing
    return not missing and changed_file(cache, model) is None


def look_at_files(cache: HubCache, model: Model) -> FilesOnDisk:
    """Look at every file of a row; takes long where there are many, so it is no part of a writing transaction."""
    artifact_bytes = sum(path.stat().st_size for path in artifact_files(model))
    return FilesOnDisk(
        whole=is_whole(cache, model),
        artifact_bytes=artifact_bytes,
        disk_bytes=cache.snapshot_bytes(model.model_id, model.commit, manifest(model)) + artifact_bytes,
    )
