"""The rows of the `models` table: finding, creating, moving between states, deleting."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from sqlalchemy import ColumnElement, and_, delete, func, not_, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, defer, load_only, object_session

from modelyard.core.database import database_now, utc_now
from modelyard.core.errors import AlreadyExists, Conflict, ModelNotFound
from modelyard.hub.cache.hub_cache import HubCache, Inventory
from modelyard.hub.names import RemoteFile
from modelyard.models import (
    ACTIVE_STATUSES,
    RESTARTABLE_STATUSES,
    EventKind,
    EventName,
    Job,
    JobControl,
    JobKind,
    JobState,
    LoadedModel,
    Model,
    ModelStatus,
    Quantization,
    StoredRepoFacts,
)
from modelyard.schemas.model import ModelCreate, UsedBy
from modelyard.services.imported_files import FILES_CHANGED, changed_file
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_deletion import DeletionFacts, RowPlan, require_free
from modelyard.services.model_files import FilesOnDisk, Removal, artifact_of, is_whole, manifest
from modelyard.services.model_usage import training_users

HALF_REMOVED_SECONDS = 300.0
"""After that long a removal that has not ended is taken for one that a crash interrupted."""

DISK_RESERVE_BYTES = 500_000_000
"""Kept free on the models' disk, so that a download never fills it to the last byte."""

MANIFESTS_AT_ONCE = 500
"""Rows that are read together with their manifests: all at once would take more memory than the rest of the server."""

_PLACE_WORDS = {
    "cpu": "in the system memory",
    "auto": "on the accelerators",
    "auto+cpu": "on the accelerators and in the system memory",
}

SORTS: dict[str, Any] = {
    "name": func.lower(Model.model_id),
    "-name": func.lower(Model.model_id).desc(),
    "created_at": Model.created_at,
    "-created_at": Model.created_at.desc(),
    "size_bytes": Model.size_bytes.asc().nulls_last(),
    "-size_bytes": Model.size_bytes.desc().nulls_last(),
    "num_parameters": Model.num_parameters.asc().nulls_last(),
    "-num_parameters": Model.num_parameters.desc().nulls_last(),
}


def hub_cache() -> HubCache:
    """The cache every Hugging Face tool of this user shares."""
    return HubCache(Path(constants.HF_HUB_CACHE))


@dataclass(frozen=True)
class FilesDiffer:
    """A row of this status, whose files say otherwise, and the error it gets."""

    status: ModelStatus
    error: dict[str, Any] | None


class ModelService:
    """Rules about model rows; never commits."""

    def __init__(self, session: Session, cache: HubCache | None = None) -> None:
        self.session = session
        self.cache = cache or hub_cache()
        self.jobs = JobService(session)

    def create(self, new: ModelCreate) -> Model:
        """Add a row, or take up again one that failed, was cancelled or lost its files.

        Raises AlreadyExists, and Conflict while files of the same snapshot are being removed.
        """
        existing = self._same(new)
        if existing is None:
            self.require_settled(new.model_id, new.commit)
            model = Model(**new.model_dump() | {"quantization": Quantization(new.quantization)})
            try:
                with self.session.begin_nested():
                    self.session.add(model)
                return model
            except IntegrityError:
                # Somebody asked for the same at the same moment.
                existing = self._same(new)
                if existing is None:
                    raise
        if existing.status not in RESTARTABLE_STATUSES:
            raise AlreadyExists(
                f"{new.model_id} in precision {new.quantization} is already here ({existing.status}).",
                hint="Open it instead of downloading it again.",
                id=existing.id,
            )
        self.require_settled(new.model_id, new.commit)
        existing.endpoint, existing.revision = new.endpoint, new.revision
        existing.canonical_id = new.canonical_id
        existing.gated, existing.private = new.gated, new.private
        existing.allow_pickle, existing.keep_original = new.allow_pickle, new.keep_original
        return existing

    def _same(self, new: ModelCreate) -> Model | None:
        return self.session.scalars(
            select(Model)
            .where(Model.model_id == new.model_id, Model.commit == new.commit, Model.quantization == new.quantization)
            .with_for_update()
        ).one_or_none()

    def require_settled(self, model_id: str, commit: str) -> None:
        """Raise Conflict while files of a snapshot are being removed: work on it would lose what it has just begun."""
        rows = self.session.execute(
            select(Model.status, Model.removal_due)
            .where(Model.model_id == model_id, Model.commit == commit)
            .order_by(Model.id)
            .with_for_update()
        ).all()
        if any(removal_due or status is ModelStatus.DELETING for status, removal_due in rows):
            raise Conflict(f"Files of {model_id} are being removed right now.", hint="Ask again in a moment.")

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
        model = self.find(row_id)
        if model is None:
            raise ModelNotFound(f"There is no model with the id {row_id!r}.")
        return model

    def find(self, row_id: str) -> Model | None:
        """A row as it is now, if there is one."""
        return self.session.get(Model, row_id, populate_existing=True)

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
        # The manifest is the largest part of a row, and no list shows it.
        items = self.session.scalars(
            select(Model)
            .options(defer(Model.files))
            .where(*conditions)
            .order_by(SORTS[sort], Model.id)
            .limit(limit)
            .offset(offset)
        ).all()
        return items, total

    def list_inexact(self) -> Sequence[Model]:
        """Ready rows whose memory was not estimated exactly."""
        return self.session.scalars(
            select(Model)
            .where(Model.status == ModelStatus.READY, Model.memory_method.is_distinct_from("exact"))
            .order_by(Model.model_id, Model.quantization)
        ).all()

    def ready_copies(self, model_id: str, commit: str) -> set[str]:
        """The precisions in which this commit is ready."""
        here = Model.status == ModelStatus.READY, Model.model_id == model_id, Model.commit == commit
        return {quantization.value for quantization in self.session.scalars(select(Model.quantization).where(*here))}

    def ready_among(self, model_ids: Collection[str]) -> set[str]:
        """Those of which any revision is ready, in any precision."""
        ready = select(Model.model_id).where(Model.status == ModelStatus.READY, Model.model_id.in_(model_ids))
        return set(self.session.scalars(ready))

    def counts(self) -> dict[str, int]:
        """Rows per status."""
        rows = self.session.execute(select(Model.status, func.count()).group_by(Model.status)).all()
        return {status.value: count for status, count in rows}

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

    def resume(self, row_id: str, kind: JobKind | None = None) -> Model:
        """Go on with a paused or failed download; a row that begins anew does with `kind`. Raises Conflict."""
        model = self.get_by_id(row_id)
        if model.begins_anew and kind is not None:
            self.require_settled(model.model_id, model.commit)
            self.start_job(model, kind)
            if kind is JobKind.QUANTIZE:
                model.status = ModelStatus.QUANTIZING
            return model
        if model.job_id is None or not self.jobs.resume(model.job_id):
            raise Conflict(
                f"{model.model_id} is {model.status}, there is nothing to resume.",
                hint="Only a paused, failed or cancelled download can be resumed.",
            )
        self.session.refresh(model)  # its worker may have let go of it just before
        if model.status in (ModelStatus.PAUSED, ModelStatus.FAILED):
            model.status, model.error = ModelStatus.PENDING, None
        self.session.flush()
        return model

    def cancel(self, row_id: str, found: FilesOnDisk | None = None) -> Model:
        """Stop, and have partial data removed; acknowledged by the worker within a heartbeat. Raises Conflict.

        Of a ready model, the last request to load it is taken back. `found` is needed of one that is being verified.
        """
        model = self.get_by_id(row_id)
        if model.status is ModelStatus.CANCELLED:
            return model
        if model.status is ModelStatus.READY:
            if not self.jobs.stop_loading(row_id):
                raise Conflict(
                    f"{model.model_id} is ready and is not being loaded: there is nothing to cancel.",
                    hint="To remove it from the disk, delete it; to free its memory, unload it.",
                )
            return model
        if model.status in (ModelStatus.FAILED, ModelStatus.MISSING):
            model.status, model.removal_due = ModelStatus.CANCELLED, True
            last = self.session.get(Job, model.job_id) if model.job_id else None
            kind = EventKind(last.kind.value) if last else EventKind.DOWNLOAD
            self.jobs.history.note(model.id, kind, EventName.CANCELLED)
            return model
        job = self._active_job(model, "cancelled")
        if self.jobs.request(job.id, JobControl.CANCEL) is JobState.CANCELLED:
            self.mark_cancelled(model, job.kind, found if job.kind is JobKind.VERIFY else None)
        self.session.flush()
        return model

    def mark_cancelled(self, model: Model, kind: JobKind, found: FilesOnDisk | None) -> None:
        """Work was cancelled; after a check the model is what its files are.

        `found` is what is left, or None where what was fetched is still to be removed. Raises Conflict without what
        was found of a model that was checked.
        """
        status = ModelStatus.CANCELLED
        if kind is JobKind.VERIFY:
            if found is None:
                raise Conflict(f"A check of {model.model_id} began just now.", hint="Cancel it again.")
            status = ModelStatus.READY if found.whole else ModelStatus.MISSING
        self.mark_ended(model, status)
        if found is None:
            model.removal_due = True
        else:
            self.note_files(model, found)

    def mark_downloading(self, model: Model) -> None:
        model.status, model.error = ModelStatus.DOWNLOADING, None
        self.session.flush()

    def mark_done(self, model: Model, kind: JobKind, found: FilesOnDisk) -> None:
        """A job on the row ended well: the model is ready, or its quantized copy is made next."""
        if model.quantization is not Quantization.NONE and not found.whole:
            self.start_job(model, JobKind.QUANTIZE)
            model.status = ModelStatus.QUANTIZING
            return
        model.status, model.error = ModelStatus.READY, None
        self.note_files(model, found)
        if kind is JobKind.QUANTIZE and not model.keep_original:
            self._give_up_original(model)
        self._forget_facts(model)

    def mark_quantizing(self, model: Model) -> None:
        model.status, model.error = ModelStatus.QUANTIZING, None
        self.session.flush()

    def mark_ended(self, model: Model, status: ModelStatus, error: dict[str, Any] | None = None) -> None:
        """Not worked on any more: paused, failed, cancelled, missing, or ready as before."""
        model.status, model.error = status, error
        self.session.flush()

    def note_files(self, model: Model, found: FilesOnDisk) -> None:
        """Write down what a row's files take up, as they were found before this transaction."""
        model.artifact_bytes, model.disk_bytes = found.artifact_bytes, found.disk_bytes
        self.session.flush()

    def mark_missing_files(self, changed: Mapping[str, "FilesDiffer"]) -> int:
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
            self.jobs.history.note(model.id, EventKind.FILES, event)
            self._forget_facts(model)
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

    def _users(self, model: Model) -> Sequence[UsedBy]:
        return [
            *(loaded_by(loaded) for loaded in loaded_rows(self.session, [model.id])),
            *training_users(self.session, [model.id]).get(model.id, []),
        ]

    def deletion_facts(self, row_id: str) -> DeletionFacts:
        """Return what the database says of a row that may be deleted. Raises ModelNotFound."""
        return self._deletion_facts(self.get_by_id(row_id))

    def deletion_facts_of(self, row_ids: Sequence[str]) -> Sequence[DeletionFacts]:
        """Return the same of several rows, in this order; ids of no row are left out."""
        found = (self.find(row_id) for row_id in dict.fromkeys(row_ids))
        return [self._deletion_facts(model) for model in found if model is not None]

    def _deletion_facts(self, model: Model) -> DeletionFacts:
        return DeletionFacts(
            model=model,
            others=self._other_rows_of_snapshot(model),
            partial_owners=self._partial_owners(model),
            used_by=self._users(model),
        )

    def begin_deletion(self, row_id: str, plan: RowPlan, *, confirm_shared: bool = False) -> None:
        """Mark a row as being deleted: nobody may work on it any more.

        Raises ModelNotFound, ModelInUse, SharedCache, and Conflict while work is under way, or when the plan is not
        true any more.
        """
        model = self.get_by_id(row_id)
        require_free(model, plan, self._users(model), confirm_shared=confirm_shared)
        job = self.session.get(Job, model.job_id) if model.job_id else None
        if job is not None and job.state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
            raise Conflict(
                f"{model.model_id} is still being worked on.", hint="Cancel the download, then delete the model."
            )
        others = self._other_rows_of_snapshot(model)
        given_up = {row.id: row for row in others if plan.with_original and row.id in plan.copies}
        if (plan.siblings | (plan.copies if plan.with_original else set())) != {row.id for row in others} or any(
            row.status is not ModelStatus.READY for row in given_up.values()
        ):
            raise Conflict(f"Another model began or ceased to use the files of {model.model_id}.", hint="Retry.")
        for row in given_up.values():
            row.removal_due = True
        model.status, model.removal_due = ModelStatus.DELETING, False
        self.session.flush()

    def due_removal(self, row_id: str) -> Removal | None:
        """What is to be removed of a row now: all of one that is being deleted, or what its last change left."""
        model = self.find(row_id)
        if model is None or not (model.removal_due or model.status is ModelStatus.DELETING):
            return None
        if model.status is ModelStatus.CANCELLED:
            return self.partial_data(model)
        removal = Removal(model.model_id, model.commit)
        if not self._other_rows_of_snapshot(model):
            unlinked = self.partial_data(model) if model.status is ModelStatus.DELETING else removal
            removal = replace(unlinked, snapshot=True, manifest=manifest(model))
        return replace(removal, artifact=artifact_of(model)) if model.status is ModelStatus.DELETING else removal

    def partial_data(self, model: Model) -> Removal:
        """What was fetched for a row that will not become ready; other rows' files stay."""
        files = None
        if not self._other_rows_of_snapshot(model):
            present_before = {file["path"] for file in model.files or () if file["present_before"]}
            files = [file for file in manifest(model) if file.path not in present_before]
        return Removal(model.model_id, model.commit, partials=not self._partial_owners(model), files=files)

    def end_removal(self, row_id: str, found: FilesOnDisk) -> None:
        """What was due is removed: the row goes as well, or remembers what is left."""
        model = self.find(row_id)
        if model is not None and model.status is ModelStatus.DELETING:
            self.end_deletion(row_id)
        elif model is not None and model.removal_due:
            model.removal_due = False
            self.note_files(model, found)
            if model.status is ModelStatus.READY:
                self._end_originals(model)

    def give_up_removal(self, row_id: str, found: FilesOnDisk, error: dict[str, Any]) -> None:
        """What was due cannot be removed: the row is what its files are, and says why."""
        model = self.find(row_id)
        if model is None or not (model.removal_due or model.status is ModelStatus.DELETING):
            return
        model.removal_due = False
        if model.status is ModelStatus.DELETING:
            model.status = ModelStatus.READY if found.whole else ModelStatus.MISSING
        model.error = error
        self.note_files(model, found)

    def _end_originals(self, model: Model) -> None:
        """Remove the entries of the snapshot that a quantized copy was made of."""
        originals = select(Model.id).where(
            Model.model_id == model.model_id,
            Model.commit == model.commit,
            Model.quantization == Quantization.NONE,
            Model.status == ModelStatus.DELETING,
        )
        for row_id in self.session.scalars(originals).all():
            self.end_deletion(row_id)

    def end_deletion(self, row_id: str) -> None:
        """Remove a row whose files are gone, its jobs and its history."""
        model = self.session.get(Model, row_id)
        for other in () if model is None else self._other_rows_of_snapshot(model):
            other.updated_at = utc_now()  # the files they shared are counted for one of them from here on
        if model is not None:
            self._forget_facts(model)
        self.session.flush()
        self.session.execute(delete(Model).where(Model.id == row_id))
        self._forget_work(row_id)

    def _forget_work(self, row_id: str) -> None:
        self.session.execute(delete(Job).where(Job.subject_id == row_id))
        self.jobs.history.forget(row_id)

    def half_removed(self) -> Sequence[str]:
        """Rows whose deletion, or the removal of whose files, a crash interrupted."""
        since = utc_now() - timedelta(seconds=HALF_REMOVED_SECONDS)
        due = or_(Model.status == ModelStatus.DELETING, Model.removal_due)
        return self.session.scalars(select(Model.id).where(due, Model.updated_at < since)).all()

    def _forget_facts(self, model: Model) -> None:
        """Its files may say something else now; whoever lists it next reads them again."""
        self.session.execute(
            delete(StoredRepoFacts).where(
                StoredRepoFacts.model_id == model.model_id, StoredRepoFacts.commit == model.commit
            )
        )

    def _give_up_original(self, model: Model) -> None:
        """Have the snapshot a quantized copy was made of removed, and its own entry, where they are nobody else's."""
        others = self._other_rows_of_snapshot(model)
        if model.adopted or not all(self._is_idle_original(row) for row in others):
            return
        for row in others:
            row.status = ModelStatus.DELETING
        model.removal_due = True
        self.session.flush()

    def _is_idle_original(self, row: Model) -> bool:
        return (
            row.quantization is Quantization.NONE
            and row.status is ModelStatus.READY
            and not loaded_rows(self.session, [row.id])
            and not self.jobs.loads([row.id])  # whoever waits for it reads these files next
            and not training_users(self.session, [row.id])
        )

    def _other_rows_of_snapshot(self, model: Model) -> Sequence[Model]:
        """Rows that need the same files; one that was cancelled or is deleted, or whose files are gone, needs none, and
        neither does a quantized copy whose original is being removed.
        """
        return self.session.scalars(
            select(Model)
            .options(defer(Model.files))
            .where(
                Model.model_id == model.model_id,
                Model.commit == model.commit,
                Model.id != model.id,
                Model.status.not_in((ModelStatus.CANCELLED, ModelStatus.MISSING, ModelStatus.DELETING)),
                not_(and_(Model.status == ModelStatus.READY, Model.removal_due)),
            )
        ).all()

    def _partial_owners(self, model: Model) -> frozenset[str]:
        """The other rows whose download, under way or to be resumed, may own unfinished files of the repository."""
        unfinished = (*ACTIVE_STATUSES, ModelStatus.PAUSED, ModelStatus.FAILED)
        return frozenset(
            self.session.scalars(
                select(Model.id).where(
                    Model.model_id == model.model_id, Model.id != model.id, Model.status.in_(unfinished)
                )
            )
        )

    def _active_job(self, model: Model, word: str) -> Job:
        job = self.session.get(Job, model.job_id) if model.job_id else None
        if job is None or job.state not in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
            raise Conflict(
                f"{model.model_id} is {model.status} and cannot be {word}.",
                hint="Only work under way can be: `modelyard ps` shows it.",
            )
        return job


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
    """What a ready row that is not whole any more is to say; None of one that was missing."""
    if model.status is not ModelStatus.READY:
        return None
    return FILES_CHANGED if changed_file(cache, model) else _MISSING_ERROR


_MISSING_ERROR = {
    "code": "files_missing",
    "message": "Files of this model are gone from the disk.",
    "hint": "Download it again, or delete the entry.",
}


def loaded_rows(session: Session, row_ids: Sequence[str]) -> Sequence[LoadedModel]:
    """Where these models are in memory, as far as their workers still say so."""
    return session.scalars(
        select(LoadedModel).where(
            LoadedModel.model_row_id.in_(row_ids), LoadedModel.lease_expires_at > database_now(session)
        )
    ).all()


def loaded_by(loaded: LoadedModel) -> UsedBy:
    """The worker that holds a model in memory, with where it does in words."""
    place = _PLACE_WORDS.get(loaded.device, f"on {loaded.device}")
    how = "" if loaded.dtype in (None, "auto") else f"in {loaded.dtype} "
    return UsedBy(
        kind="loaded",
        id=loaded.worker,
        name=f"loaded {how}{place} of {loaded.host}",
        dtype=loaded.dtype,
        measured_bytes=loaded.measured_bytes,
    )


def next_work(cache: HubCache, model: Model) -> JobKind:
    """What a row that ended, or whose files are gone, begins with when it is started again."""
    files = manifest(model)
    here = bool(files) and not cache.inventory(model.model_id, model.commit, files).missing
    return JobKind.QUANTIZE if here and model.quantization is not Quantization.NONE else JobKind.DOWNLOAD


def snapshot_owners(session: Session, models: Sequence[Model]) -> dict[tuple[str, str], str]:
    """(model_id, commit) → the one row its snapshot is counted for: the unquantized one, else the oldest."""
    rows = session.execute(
        select(Model.model_id, Model.commit, Model.id)
        .where(
            Model.model_id.in_({model.model_id for model in models}),
            Model.status.not_in((ModelStatus.CANCELLED, ModelStatus.MISSING)),
        )
        .order_by(Model.quantization != Quantization.NONE, Model.created_at, Model.id)
    )
    owners: dict[tuple[str, str], str] = {}
    for model_id, commit, row_id in rows:
        owners.setdefault((model_id, commit), row_id)
    return owners


def bytes_to_fetch(cache: HubCache, model_id: str, commit: str, files: Sequence[RemoteFile]) -> int:
    """What a download would transfer now, after what the cache and earlier attempts hold."""
    missing = cache.inventory(model_id, commit, files).missing
    wanted = {file.blob: file for file in missing if not cache.has_blob(model_id, file)}
    begun = {partial.blob: partial.size_bytes for partial in cache.partials(model_id)}
    return sum(file.size_bytes - min(begun.get(blob, 0), file.size_bytes) for blob, file in wanted.items())


def new_manifest(model: Model, files: Sequence[RemoteFile], inventory: Inventory) -> list[dict[str, Any]]:
    """What is stored of a snapshot's files; `present_before` marks those that were not fetched for Modelyard.

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
