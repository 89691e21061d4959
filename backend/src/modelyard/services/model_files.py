"""What a row's files take up on the disk, what of them is to be removed, and what rows remember of them.

Looking at ten thousand files, or removing them, takes long on a slow disk, and whoever writes to the database lets
everybody else wait. So files are looked at before the transaction that writes down what was found, and removed after
the one that decided it (`services.model_actions`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session, load_only, object_session

from modelyard.core.settings import get_settings
from modelyard.core.storage import remove_folder, storage_errors
from modelyard.core.weight_files import module_files
from modelyard.hub.cache.hub_cache import HubCache, Inventory
from modelyard.hub.names import RemoteFile
from modelyard.models import EventKind, EventName, JobKind, Model, ModelStatus, Quantization, StoredRepoFacts
from modelyard.services.imported_files import FILES_CHANGED, changed_file
from modelyard.services.jobs.history_service import HistoryService

ARTIFACT_MANIFEST = "modelyard.json"

MANIFESTS_AT_ONCE = 500
"""Rows that are read together with their manifests: all at once would take more memory than the rest of the server."""

_MISSING_ERROR = {
    "code": "files_missing",
    "message": "Files of this model are gone from the disk.",
    "hint": "Download it again, or delete the entry.",
}


def hub_cache() -> HubCache:
    """Return the cache every Hugging Face tool of this user shares."""
    return HubCache(Path(constants.HF_HUB_CACHE))


def weight_files(row: Model, snapshot: Path) -> dict[str, Path]:
    """Return the safetensors of the model in a row's snapshot by name, on the disk or not."""
    names = [file.path for file in manifest(row)]
    modules = module_files(names)
    return {name: snapshot / name for name in names if name.endswith(".safetensors") and name not in modules}


@dataclass(frozen=True)
class FilesOnDisk:
    """What was found of a row's files."""

    whole: bool
    """All that is used of the row is there: its quantized copy, or its snapshot."""
    artifact_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class FilesDiffer:
    """A row of this status, whose files say otherwise, and the error it gets."""

    status: ModelStatus
    error: dict[str, Any] | None


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
    """Return the files a model's snapshot must hold; empty until its download has begun."""
    return remote_files(model.files or ())


def remote_files(entries: Sequence[Mapping[str, Any]]) -> list[RemoteFile]:
    """Return the files of a stored manifest."""
    return [RemoteFile(file["path"], file["size_bytes"], file["sha256"], file["git_sha1"]) for file in entries]


def artifact_of(model: Model) -> Path | None:
    """Return the folder of a row's quantized copy, once that was made."""
    return None if model.artifact_path is None else get_settings().artifacts_folder / model.artifact_path


def work_folder(model: Model) -> Path:
    """Return where the files of a row that is converted or merged are made; there only while that is under way."""
    work = "gguf" if model.merged_from is None else "merge"
    return get_settings().artifacts_folder / f"{model.id}--{work}.partial"


def artifact_files(model: Model) -> list[Path]:
    """Return the files of a row's quantized copy; empty where it is missing or not whole."""
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
    """Return whether what is used of a row is on the disk: its quantized copy, or its snapshot."""
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


def changed_files(cache: HubCache, rows: Sequence[Model]) -> dict[str, FilesDiffer]:
    """Return which of the rows the disk contradicts: ready without all files, or missing with them.

    Looking at every file takes a while, so it is no part of a transaction.
    """
    return {
        model.id: FilesDiffer(model.status, _file_error(cache, model))
        for model in rows
        if is_whole(cache, model) != (model.status is ModelStatus.READY)
    }


def _file_error(cache: HubCache, model: Model) -> dict[str, Any] | None:
    """Return what a ready row that is not whole any more is to say; None of one that was missing."""
    if model.status is not ModelStatus.READY:
        return None
    return FILES_CHANGED if changed_file(cache, model) else _MISSING_ERROR


def next_work(cache: HubCache, model: Model) -> JobKind:
    """Return what a row that ended, or whose files are gone, begins with when it is started again."""
    if model.merged_from is not None and model.quantization is Quantization.NONE:
        return JobKind.MERGE
    files = manifest(model)
    here = bool(files) and not cache.inventory(model.model_id, model.commit, files).missing
    return JobKind.QUANTIZE if here and model.quantization is not Quantization.NONE else JobKind.DOWNLOAD


def bytes_to_fetch(cache: HubCache, model_id: str, commit: str, files: Sequence[RemoteFile]) -> int:
    """Return what a download would transfer now, after what the cache and earlier attempts hold."""
    missing = cache.inventory(model_id, commit, files).missing
    wanted = {file.blob: file for file in missing if not cache.has_blob(model_id, file)}
    begun = {partial.blob: partial.size_bytes for partial in cache.partials(model_id)}
    # As the download does it: what was begun is fetched to its end, whoever has it.
    for blob in cache.find_elsewhere(model_id, [file for blob, file in wanted.items() if blob not in begun]):
        del wanted[blob]
    return sum(file.size_bytes - min(begun.get(blob, 0), file.size_bytes) for blob, file in wanted.items())


def new_manifest(model: Model, files: Sequence[RemoteFile], inventory: Inventory) -> list[dict[str, Any]]:
    """Return what is stored of a snapshot's files; `present_before` marks those that were not fetched for Modelyard.

    What was fetched for another row of the same snapshot was fetched for Modelyard. The inventory is taken before the
    transaction that stores this, because looking at every file takes a while.
    """
    present = {file.path for file in inventory.present}
    session = object_session(model)
    if session is not None:
        for other in session.scalars(
            select(Model).where(Model.model_id == model.model_id, Model.commit == model.commit, Model.id != model.id)
        ):
            present -= {file["path"] for file in other.files or () if not file["present_before"]}
    return [vars(file) | {"present_before": file.path in present} for file in files]


_OWNERS = (
    select(Model.model_id, Model.commit, Model.id)
    .where(
        Model.model_id.in_(bindparam("model_ids", expanding=True)),
        Model.status.not_in((ModelStatus.CANCELLED, ModelStatus.MISSING)),
    )
    .order_by(Model.quantization != Quantization.NONE, Model.created_at, Model.id)
)


def snapshot_owners(session: Session, models: Sequence[Model]) -> dict[tuple[str, str], str]:
    """(model_id, commit) → the one row its snapshot is counted for: the unquantized one, else the oldest."""
    rows = session.execute(_OWNERS, {"model_ids": list({model.model_id for model in models})})
    owners: dict[tuple[str, str], str] = {}
    for model_id, commit, row_id in rows:
        owners.setdefault((model_id, commit), row_id)
    return owners


class ModelFiles:
    """Writes down in rows what was found of their files; never commits, and looks at no disk."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def note(self, model: Model, found: FilesOnDisk) -> None:
        """Write down what a row's files take up, as they were found before this transaction."""
        model.artifact_bytes, model.disk_bytes = found.artifact_bytes, found.disk_bytes
        self.session.flush()

    def mark_missing(self, changed: Mapping[str, FilesDiffer]) -> int:
        """Ready rows whose files vanished or changed become `missing`, and back when they return.

        `changed` is what `changed_files` found before this transaction, in which no disk is looked at. Returns how
        many rows changed.
        """
        rows = self.session.scalars(select(Model).where(Model.id.in_(changed))).all()
        rows = [model for model in rows if model.status is changed[model.id].status]
        for model in rows:
            vanished = model.status is ModelStatus.READY
            model.status = ModelStatus.MISSING if vanished else ModelStatus.READY
            model.error = changed[model.id].error
            event = EventName.MISSING if vanished else EventName.FOUND
            HistoryService(self.session).note(model.id, EventKind.FILES, event)
            forget_facts(self.session, model)
        return len(rows)

    def with_manifests(self, *, after: str = "", limit: int = MANIFESTS_AT_ONCE) -> Sequence[Model]:
        """Return the next rows, by id, whose files are to be there or were: what `changed_files` looks at."""
        return self.session.scalars(
            select(Model)
            .options(
                load_only(
                    Model.model_id, Model.commit, Model.quantization, Model.status, Model.files, Model.artifact_path
                )
            )
            .where(
                Model.status.in_((ModelStatus.READY, ModelStatus.MISSING)), Model.files.is_not(None), Model.id > after
            )
            .order_by(Model.id)
            .limit(limit)
        ).all()

    def managed_snapshots(self) -> set[tuple[str, str]]:
        """Return (model_id, commit) of every row."""
        return {(model_id, commit) for model_id, commit in self.session.execute(select(Model.model_id, Model.commit))}

    def unfinished_blobs(self) -> set[tuple[str, str]]:
        """Return (model_id, blob) of every file that a row's download, under way or to be resumed, goes on with."""
        unfinished = (ModelStatus.PENDING, ModelStatus.DOWNLOADING, ModelStatus.PAUSED, ModelStatus.FAILED)
        rows = self.session.execute(select(Model.model_id, Model.files).where(Model.status.in_(unfinished)))
        return {(model_id, file.blob) for model_id, files in rows for file in remote_files(files or ())}

    def stored_bytes(self) -> int:
        """Return the bytes of the snapshots of all rows, each counted once."""
        rows = self.session.execute(select(func.max(Model.disk_bytes)).group_by(Model.model_id, Model.commit)).scalars()
        return sum(rows)


def forget_facts(session: Session, model: Model) -> None:
    """Have what is remembered of a row's files read again: they may say something else now."""
    session.execute(
        delete(StoredRepoFacts).where(
            StoredRepoFacts.model_id == model.model_id, StoredRepoFacts.commit == model.commit
        )
    )
