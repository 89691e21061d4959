"""The rows of the `models` table: finding, creating, moving between states, deleting."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.core.errors import AlreadyExists, Conflict, DiskFull, ModelNotFound, SharedCache
from modelyard.hub.names import RemoteFile
from modelyard.hub.store import HubCache
from modelyard.models import (
    ACTIVE_STATUSES,
    RESTARTABLE_STATUSES,
    Job,
    JobControl,
    JobKind,
    JobState,
    Model,
    ModelStatus,
    Quantization,
)
from modelyard.schemas.model import DeletionReport, InstalledFile, InstalledFiles, KeptBytes, ModelCreate
from modelyard.services.job_service import JobService

CANCEL_WAIT_SECONDS = 5.0

DISK_RESERVE_BYTES = 500_000_000
"""Kept free on the models' disk, so that a download never fills it to the last byte."""

SORTS: dict[str, Any] = {
    "name": func.lower(Model.model_id),
    "-name": func.lower(Model.model_id).desc(),
    "created_at": Model.created_at,
    "-created_at": Model.created_at.desc(),
    "size_bytes": Model.size_bytes,
    "-size_bytes": Model.size_bytes.desc(),
    "num_parameters": Model.num_parameters,
    "-num_parameters": Model.num_parameters.desc(),
}


def hub_cache() -> HubCache:
    """The cache every Hugging Face tool of this user shares."""
    return HubCache(Path(constants.HF_HUB_CACHE))


class ModelService:
    """Rules about model rows; never commits."""

    def __init__(self, session: Session, cache: HubCache | None = None) -> None:
        self.session = session
        self.cache = cache or hub_cache()
        self.jobs = JobService(session)

    def create(self, new: ModelCreate) -> Model:
        """Add a row, or take up again one that failed, was cancelled or lost its files. Raises AlreadyExists."""
        existing = self.session.scalars(
            select(Model)
            .where(Model.model_id == new.model_id, Model.commit == new.commit, Model.quantization == new.quantization)
            .with_for_update()
        ).one_or_none()
        if existing is None:
            model = Model(**new.model_dump() | {"quantization": Quantization(new.quantization)})
            self.session.add(model)
            self.session.flush()
            return model
        if existing.status not in RESTARTABLE_STATUSES:
            raise AlreadyExists(
                f"{new.model_id} in precision {new.quantization} is already here ({existing.status}).",
                hint="Open it instead of downloading it again.",
                id=existing.id,
            )
        existing.endpoint, existing.revision = new.endpoint, new.revision
        existing.allow_pickle, existing.keep_original = new.allow_pickle, new.keep_original
        return existing

    def start_download(self, model: Model) -> Job:
        """Queue the download of a row; partial data of an earlier attempt is used."""
        return self.start_job(model, JobKind.DOWNLOAD)

    def start_job(self, model: Model, kind: JobKind, payload: dict[str, Any] | None = None) -> Job:
        """Queue work on a row, which is `pending` until a worker takes it."""
        job = self.jobs.enqueue(kind, model.id, payload)
        model.job_id, model.status, model.error = job.id, ModelStatus.PENDING, None
        self.session.flush()
        return job

    def get_by_id(self, row_id: str) -> Model:
        """Raises ModelNotFound."""
        model = self.session.get(Model, row_id, populate_existing=True)
        if model is None:
            raise ModelNotFound(f"There is no model with the id {row_id!r}.")
        return model

    def get_by_model_id(self, model_id: str) -> Sequence[Model]:
        """Every revision and precision of a repository, the newest first."""
        return self.session.scalars(
            select(Model)
            .where(or_(Model.model_id == model_id, Model.canonical_id == model_id))
            .order_by(Model.created_at.desc())
        ).all()

    def list(
        self,
        *,
        statuses: Sequence[ModelStatus] = (),
        quantization: Quantization | None = None,
        query: str | None = None,
        sort: str = "-created_at",
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[Sequence[Model], int]:
        """One page of rows, and how many there are in all."""
        conditions: list[ColumnElement[bool]] = []
        if statuses:
            conditions.append(Model.status.in_(statuses))
        if quantization is not None:
            conditions.append(Model.quantization == quantization)
        if query:
            conditions.append(
                or_(
                    Model.model_id.icontains(query, autoescape=True),
                    Model.architecture.icontains(query, autoescape=True),
                )
            )
        total = self.session.scalar(select(func.count()).select_from(Model).where(*conditions)) or 0
        items = self.session.scalars(
            select(Model).where(*conditions).order_by(SORTS[sort], Model.id).limit(limit).offset(offset)
        ).all()
        return items, total

    def list_ready(self) -> Sequence[Model]:
        return self.session.scalars(
            select(Model).where(Model.status == ModelStatus.READY).order_by(Model.model_id, Model.quantization)
        ).all()

    def counts(self) -> dict[str, int]:
        """Rows per status."""
        rows = self.session.execute(select(Model.status, func.count()).group_by(Model.status)).all()
        return {status.value: count for status, count in rows}

    def files(self, row_id: str) -> InstalledFiles:
        """The manifest of a row's snapshot, and which of its files are on the disk. Raises ModelNotFound."""
        model = self.get_by_id(row_id)
        files = manifest(model)
        present = {file.path for file in self.cache.inventory(model.model_id, model.commit, files).present}
        return InstalledFiles(items=[InstalledFile(**vars(file), present=file.path in present) for file in files])

    def stored_bytes(self) -> int:
        """Bytes of the snapshots of all rows, each counted once."""
        rows = self.session.execute(select(func.max(Model.disk_bytes)).group_by(Model.model_id, Model.commit)).scalars()
        return sum(rows)

    def pause(self, row_id: str) -> Model:
        """Keep what was fetched and stop; acknowledged by the worker within a heartbeat. Raises Conflict."""
        model = self.get_by_id(row_id)
        if model.status is ModelStatus.PAUSED:
            return model
        job = self._active_job(model, "paused")
        if self.jobs.request(job.id, JobControl.PAUSE) is JobState.PAUSED:
            model.status = ModelStatus.PAUSED
        self.session.flush()
        return model

    def resume(self, row_id: str) -> Model:
        """Go on with a paused or failed download. Raises Conflict."""
        model = self.get_by_id(row_id)
        if model.status in RESTARTABLE_STATUSES and model.status is not ModelStatus.FAILED:
            self.start_download(model)
            return model
        if model.job_id is None or not self.jobs.resume(model.job_id):
            raise Conflict(f"{model.model_id} is {model.status}, there is nothing to resume.")
        if model.status in (ModelStatus.PAUSED, ModelStatus.FAILED):
            model.status, model.error = ModelStatus.PENDING, None
        self.session.flush()
        return model

    def cancel(self, row_id: str) -> Model:
        """Stop and remove partial data; acknowledged by the worker within a heartbeat. Raises Conflict."""
        model = self.get_by_id(row_id)
        if model.status is ModelStatus.CANCELLED:
            return model
        if model.status in (ModelStatus.FAILED, ModelStatus.MISSING):
            self.drop_partial_data(model)
            model.status = ModelStatus.CANCELLED
            self.session.flush()
            return model
        job = self._active_job(model, "cancelled")
        if self.jobs.request(job.id, JobControl.CANCEL) is JobState.CANCELLED:
            self.mark_cancelled(model, job.kind)
        self.session.flush()
        return model

    def mark_cancelled(self, model: Model, kind: JobKind) -> None:
        """What was fetched is removed; of a check that was cancelled, the model stays as it was."""
        if kind is JobKind.VERIFY:
            whole = not self.cache.inventory(model.model_id, model.commit, manifest(model)).missing
            self.mark_ended(model, ModelStatus.READY if whole else ModelStatus.MISSING)
            return
        self.drop_partial_data(model)
        self.mark_ended(model, ModelStatus.CANCELLED)

    def mark_downloading(self, model: Model) -> None:
        model.status, model.error = ModelStatus.DOWNLOADING, None
        self.session.flush()

    def mark_ready(self, model: Model) -> None:
        model.status, model.error = ModelStatus.READY, None
        model.disk_bytes = self.cache.snapshot_bytes(model.model_id, model.commit)
        self.session.flush()

    def mark_ended(self, model: Model, status: ModelStatus, error: dict[str, Any] | None = None) -> None:
        """Not worked on any more: paused, failed, cancelled, missing, or ready as before."""
        model.status, model.error = status, error
        model.disk_bytes = self.cache.snapshot_bytes(model.model_id, model.commit)
        self.session.flush()

    def mark_missing_files(self) -> int:
        """Ready rows whose files vanished become `missing`, and back when they return. Returns how many changed."""
        rows = self.session.scalars(
            select(Model).where(Model.status.in_((ModelStatus.READY, ModelStatus.MISSING)), Model.files.is_not(None))
        )
        changed = 0
        for model in rows:
            present = not self.cache.inventory(model.model_id, model.commit, manifest(model)).missing
            if present == (model.status is ModelStatus.READY):
                continue
            model.status = ModelStatus.READY if present else ModelStatus.MISSING
            model.error = None if present else _MISSING_ERROR
            changed += 1
        self.session.flush()
        return changed

    def resume_where_room(self) -> int:
        """Go on with downloads that stopped because the disk was full, where it no longer is. Returns how many."""
        stopped = self.session.scalars(
            select(Model).where(Model.status == ModelStatus.PAUSED, Model.error.is_not(None)).order_by(Model.created_at)
        )
        room = self.cache.free_bytes() - DISK_RESERVE_BYTES
        resumed = 0
        for model in stopped:
            needed = bytes_to_fetch(self.cache, model.model_id, model.commit, manifest(model))
            if model.error and model.error["code"] == DiskFull.code and needed <= room:
                self.resume(model.id)
                room -= needed
                resumed += 1
        return resumed

    def plan_deletion(self, row_id: str) -> DeletionReport:
        """Exactly what `delete` would free, and what it must leave and why."""
        model = self.get_by_id(row_id)
        siblings = self._other_rows_of_snapshot(model)
        if siblings:
            names = ", ".join(sorted(row.quantization.value for row in siblings))
            kept = self.cache.snapshot_bytes(model.model_id, model.commit)
            because = [KeptBytes(bytes=kept, reason=f"the same files serve {model.model_id} in precision {names}")]
            return DeletionReport(freed_bytes=0, kept_bytes=kept, kept_because=because, shared_cache=False)
        plan = self.cache.plan_deletion(model.model_id, model.commit)
        return DeletionReport(
            freed_bytes=plan.freed_bytes,
            kept_bytes=plan.kept_bytes,
            kept_because=[KeptBytes(bytes=kept.bytes, reason=kept.reason) for kept in plan.kept_because],
            shared_cache=model.adopted,
        )

    def delete(self, row_id: str, *, confirm_shared: bool = False) -> DeletionReport:
        """Remove a row and the files nobody else uses. Raises SharedCache, Conflict while work is under way."""
        model = self.get_by_id(row_id)
        report = self.plan_deletion(row_id)
        if report.shared_cache and not confirm_shared:
            raise SharedCache(
                f"The files of {model.model_id} were in the shared Hugging Face cache before Modelyard used them;"
                " other tools may rely on them.",
                freed_bytes=report.freed_bytes,
            )
        job = self.session.get(Job, model.job_id) if model.job_id else None
        if job is not None and job.state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
            raise Conflict(
                f"{model.model_id} is still being worked on.", hint="Cancel the download, then delete the model."
            )
        if not self._other_rows_of_snapshot(model):
            self.drop_partial_data(model)
            self.cache.execute_deletion(self.cache.plan_deletion(model.model_id, model.commit))
        self.session.delete(model)
        self.session.flush()
        return report

    def drop_partial_data(self, model: Model) -> None:
        """Remove what was fetched for a row that will not become ready; other rows' files stay."""
        sharing = self.session.scalars(
            select(Model).where(
                Model.model_id == model.model_id,
                Model.id != model.id,
                Model.status.in_((*ACTIVE_STATUSES, ModelStatus.PAUSED, ModelStatus.READY, ModelStatus.FAILED)),
            )
        ).all()
        if not any(other.status is not ModelStatus.READY for other in sharing):
            self.cache.remove_partials(model.model_id)
        if not any(other.commit == model.commit for other in sharing):
            present_before = {file["path"] for file in model.files or () if file["present_before"]}
            ours = [file for file in manifest(model) if file.path not in present_before]
            self.cache.remove_files(model.model_id, model.commit, ours)

    def _other_rows_of_snapshot(self, model: Model) -> Sequence[Model]:
        return self.session.scalars(
            select(Model).where(Model.model_id == model.model_id, Model.commit == model.commit, Model.id != model.id)
        ).all()

    def _active_job(self, model: Model, word: str) -> Job:
        job = self.session.get(Job, model.job_id) if model.job_id else None
        if job is None or job.state not in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
            raise Conflict(f"{model.model_id} is {model.status} and cannot be {word}.")
        return job


def delete_model(database: Database, row_id: str, *, confirm_shared: bool = False) -> DeletionReport:
    """Delete a row and its files; a download under way is cancelled first and waited for.

    Raises ModelNotFound, SharedCache, and Conflict when its worker does not let go within CANCEL_WAIT_SECONDS.
    """
    with database.session() as session:
        models = ModelService(session)
        model = models.get_by_id(row_id)
        if model.status in ACTIVE_STATUSES or model.status is ModelStatus.PAUSED:
            models.cancel(row_id)
    deadline = time.monotonic() + CANCEL_WAIT_SECONDS
    while True:
        try:
            with database.session() as session:
                return ModelService(session).delete(row_id, confirm_shared=confirm_shared)
        except Conflict:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


_MISSING_ERROR = {
    "code": "files_missing",
    "message": "Files of this model are gone from the disk.",
    "hint": "Download it again, or delete the entry.",
}


def manifest(model: Model) -> list[RemoteFile]:
    """The files a model's snapshot must hold; empty until its download has begun."""
    return [
        RemoteFile(file["path"], file["size_bytes"], file["sha256"], file["git_sha1"]) for file in model.files or ()
    ]


def bytes_to_fetch(cache: HubCache, model_id: str, commit: str, files: Sequence[RemoteFile]) -> int:
    """What a download would transfer now, after what the cache and earlier attempts hold."""
    missing = cache.inventory(model_id, commit, files).missing
    wanted = {file.blob: file for file in missing if not cache.has_blob(model_id, file)}
    begun = {partial.blob: partial.size_bytes for partial in cache.partials(model_id)}
    return sum(file.size_bytes - min(begun.get(blob, 0), file.size_bytes) for blob, file in wanted.items())


def new_manifest(cache: HubCache, model: Model, files: Sequence[RemoteFile]) -> list[dict[str, Any]]:
    """What is stored of a snapshot's files; `present_before` marks those that were not fetched for Modelyard."""
    present = {file.path for file in cache.inventory(model.model_id, model.commit, files).present}
    return [vars(file) | {"present_before": file.path in present} for file in files]
