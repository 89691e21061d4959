"""Snapshots in a cache folder, as a finished download leaves them, and rows for them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import JobState, Model, ModelStatus
from modelyard.schemas.model import ModelCreate
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_files import FilesDiffer, changed_files, look_at_files, new_manifest
from modelyard.services.model_service import ModelService
from modelyard.services.storage_service import StorageService, resumable

MODEL_ID = "owner/name"
COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
CONTENTS: Mapping[str, bytes] = {"config.json": b"{}", "model.safetensors": b"w" * 1000}


def remote_files(contents: Mapping[str, bytes] = CONTENTS) -> list[RemoteFile]:
    return [RemoteFile(name, len(body), hashlib.sha256(body).hexdigest(), None) for name, body in contents.items()]


def note_manifest(row: Model, cache: HubCache, contents: Mapping[str, bytes] = CONTENTS) -> None:
    """Note in a row which files it has, as a download does before the first byte."""
    files = remote_files(contents)
    row.files = new_manifest(row, files, cache.inventory(row.model_id, row.commit, files))


def store(cache: HubCache, commit: str = COMMIT, contents: Mapping[str, bytes] = CONTENTS) -> list[RemoteFile]:
    """Write a snapshot into the cache."""
    files = remote_files(contents)
    cache.prepare(MODEL_ID)
    for file in files:
        cache.blob_path(MODEL_ID, file.blob).write_bytes(contents[file.path])
        cache.link(MODEL_ID, commit, file)
    return files


def begun_row(session: Session, cache: HubCache, status: ModelStatus, **fields: Any) -> Model:
    """A row whose manifest is known and whose download waits, or ended with this status."""
    models = ModelService(session, cache)
    row = new_row(session, cache, **fields)
    note_manifest(row, cache)
    job = models.start_download(row)
    if status is ModelStatus.PAUSED:
        models.pause(row.id)
    elif status is not ModelStatus.PENDING:
        claimed = JobService(session).claim(job.id, "w")
        assert claimed is not None
        JobService(session).finish(job.id, claimed.owner or "", JobState.FAILED, error={"code": "x"})
        models.mark_ended(row, status)
    return row


def part(cache: HubCache, content: bytes = b"p" * 4096, name: str = "unfinished") -> Path:
    """An unfinished file."""
    cache.prepare(MODEL_ID)
    path = cache.part_path(MODEL_ID, hashlib.sha256(name.encode()).hexdigest())
    path.write_bytes(content)
    return path


def bytes_below(folder: Path) -> int:
    """What the files below a folder take, links not counted."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def new_row(session: Session, cache: HubCache, commit: str = COMMIT, **fields: Any) -> Model:
    return ModelService(session, cache).create(
        ModelCreate(
            **{
                "model_id": MODEL_ID,
                "canonical_id": MODEL_ID,
                "endpoint": "https://huggingface.co",
                "revision": "main",
                "commit": commit,
                **fields,
            }
        )
    )


def ready_row(session: Session, cache: HubCache, commit: str = COMMIT, **fields: Any) -> Model:
    """A row whose download is over: made before its files, which are stored now unless they are there."""
    row = new_row(session, cache, commit, **fields)
    contents = CONTENTS if commit == COMMIT else {**CONTENTS, "model.safetensors": b"v" * 3000}
    note_manifest(row, cache, contents)
    row.adopted = any(file["present_before"] for file in row.files or ())
    store(cache, commit, contents)
    models = ModelService(session, cache)
    models.mark_ended(row, ModelStatus.READY)
    models.files.note(row, look_at_files(cache, row))
    assert row.status is ModelStatus.READY
    return row


def differing(models: ModelService) -> dict[str, FilesDiffer]:
    """Which rows the disk contradicts, as maintenance finds out."""
    return changed_files(models.cache, models.files.with_manifests())


def resume_waiting(session: Session) -> int:
    """Resume what waits for a disk that can be used again; how many."""
    storage = StorageService(session)
    return storage.resume(resumable(storage.waiting(), storage.models.cache))
