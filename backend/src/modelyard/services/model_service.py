"""The rows of the `models` table: finding them, creating them, moving them between states."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, defer

from modelyard.core.database import read_page
from modelyard.core.errors import AlreadyExists, Conflict, ModelNotFound
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import (
    ACTIVE_STATUSES,
    RESTARTABLE_STATUSES,
    EventKind,
    EventName,
    Job,
    JobControl,
    JobKind,
    JobState,
    Model,
    ModelStatus,
    Quantization,
)
from modelyard.schemas.model import ModelCreate
from modelyard.services.adapters import link_adapters, touch_adapters
from modelyard.services.deletion_plan import RowPlan
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import Payload
from modelyard.services.label_service import LabelService
from modelyard.services.model_deletion import ModelDeletion
from modelyard.services.model_files import FilesOnDisk, ModelFiles, forget_facts, hub_cache
from modelyard.services.versions import Versions, choice_time

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


class ModelService:
    """Rules about model rows; never commits.

    `deletion` and `files` are the rules for deleting rows and for writing down what was found of their files.
    """

    def __init__(self, session: Session, cache: HubCache | None = None) -> None:
        self.session = session
        self.cache = cache or hub_cache()
        self.jobs = JobService(session)
        self.files = ModelFiles(session)
        self.deletion = ModelDeletion(session)

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
                link_adapters(self.session, model)
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

    def start_job(self, model: Model, kind: JobKind, payload: Payload | None = None) -> Job:
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
        """Return a row as it is now, if there is one."""
        return self.session.get(Model, row_id, populate_existing=True)

    def get_by_model_id(self, model_id: str) -> Sequence[Model]:
        """Return every revision and precision of a repository, what was chosen last first."""
        return self.session.scalars(
            select(Model)
            .where(or_(Model.model_id == model_id, Model.canonical_id == model_id))
            .order_by(choice_time().desc(), Model.id)
        ).all()

    def list(
        self,
        *,
        statuses: Sequence[ModelStatus] = (),
        quantization: Quantization | None = None,
        query: str | None = None,
        tags: Collection[str] = (),
        favourite: bool | None = None,
        sort: str = "-created_at",
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[Sequence[Model], int]:
        """Return one page of rows, and how many there are in all."""
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
        conditions += LabelService(self.session).condition(tags=tags, favourite=favourite)
        return read_page(self.session, _rows(*conditions, sort=sort), limit=limit, offset=offset)

    def list_active(self) -> Sequence[Model]:
        """Return the rows that are worked on or wait for it, the newest first; without their manifests."""
        return self.session.scalars(_rows(Model.status.in_(ACTIVE_STATUSES))).all()

    def list_inexact(self) -> Sequence[Model]:
        """Ready rows whose memory was not estimated exactly."""
        return self.session.scalars(
            select(Model)
            .where(Model.status == ModelStatus.READY, Model.memory_method.is_distinct_from("exact"))
            .order_by(Model.model_id, Model.quantization)
        ).all()

    def ready_copies(self, model_id: str, commit: str) -> set[str]:
        """Return the precisions in which this commit is ready."""
        here = Model.status == ModelStatus.READY, Model.model_id == model_id, Model.commit == commit
        return {quantization.value for quantization in self.session.scalars(select(Model.quantization).where(*here))}

    def ready_among(self, model_ids: Collection[str]) -> set[str]:
        """Return those of which any revision is ready, in any precision."""
        ready = select(Model.model_id).where(Model.status == ModelStatus.READY, Model.model_id.in_(model_ids))
        return set(self.session.scalars(ready))

    def counts(self) -> dict[str, int]:
        """Return the number of rows per status."""
        rows = self.session.execute(select(Model.status, func.count()).group_by(Model.status)).all()
        return {status.value: count for status, count in rows}

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
            self.files.note(model, found)

    def mark_downloading(self, model: Model) -> None:
        model.status, model.error = ModelStatus.DOWNLOADING, None
        self.session.flush()

    def mark_done(self, model: Model, kind: JobKind, found: FilesOnDisk) -> None:
        """Note that a job ended well: the model is ready, or its quantized copy is made next."""
        if model.quantization is not Quantization.NONE and not found.whole:
            self.start_job(model, JobKind.QUANTIZE)
            model.status = ModelStatus.QUANTIZING
            return
        model.status, model.error = ModelStatus.READY, None
        self.files.note(model, found)
        if model.chosen_at is None:
            Versions(self.session).choose(model)
        touch_adapters(self.session, model)
        if kind is JobKind.QUANTIZE and not model.keep_original:
            self.deletion.give_up_original(model)
        forget_facts(self.session, model)

    def mark_quantizing(self, model: Model) -> None:
        model.status, model.error = ModelStatus.QUANTIZING, None
        self.session.flush()

    def mark_ended(self, model: Model, status: ModelStatus, error: dict[str, Any] | None = None) -> None:
        """Note that nothing works on it any more: paused, failed, cancelled, missing, or ready as before."""
        model.status, model.error = status, error
        self.session.flush()

    def delete(self, row_id: str, plan: RowPlan, *, confirm_shared: bool = False) -> None:
        """Begin the deletion of a row: nobody may work on it any more.

        Its files, and then the row, are removed after this transaction, by `model_actions.finish_removal`. Raises
        ModelNotFound, ModelInUse, SharedCache, and Conflict while work is under way, or when the plan is not true any
        more.
        """
        self.deletion.begin(self.get_by_id(row_id), plan, confirm_shared=confirm_shared)

    def _active_job(self, model: Model, word: str) -> Job:
        job = self.session.get(Job, model.job_id) if model.job_id else None
        if job is None or job.ended:
            raise Conflict(
                f"{model.model_id} is {model.status} and cannot be {word}.",
                hint="Only work under way can be: `modelyard ps` shows it.",
            )
        return job


def _rows(*conditions: ColumnElement[bool], sort: str = "-created_at") -> Select[Model]:
    """Select rows without their manifests: the largest part of a row, which no list shows."""
    return select(Model).options(defer(Model.files)).where(*conditions).order_by(SORTS[sort], Model.id)
