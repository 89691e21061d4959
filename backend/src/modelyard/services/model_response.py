"""A model's row as it goes over the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import and_, bindparam, inspect, or_, select
from sqlalchemy.orm import Session, defer, undefer

from modelyard.core.model_types import generates_text
from modelyard.core.warm_state import warm_state
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import (
    ACTIVE_STATUSES,
    RESTARTABLE_STATUSES,
    Job,
    JobControl,
    JobKind,
    JobState,
    Label,
    Model,
    ModelStatus,
)
from modelyard.schemas.model import (
    AdapterFacts,
    LastUnload,
    MergeOrigin,
    ModelError,
    ModelResponse,
    Progress,
    ProgressStep,
    RestartName,
    TrainingVerdict,
    UsedBy,
)
from modelyard.services.facts.chat_template import ChatTemplate, find_chat_template
from modelyard.services.facts.config_remarks import config_remarks
from modelyard.services.facts.stored_drift import stored_drift
from modelyard.services.jobs.control import IMPORTING_MESSAGE, STARTING
from modelyard.services.jobs.history_service import HistoryService
from modelyard.services.jobs.kinds import LOADING_PHASE
from modelyard.services.jobs.queries import is_load
from modelyard.services.label_service import LabelService
from modelyard.services.model_files import artifact_of, hub_cache, next_work, snapshot_owners
from modelyard.services.model_service import ModelService
from modelyard.services.model_usage import loaded_by, loaded_rows, training_users
from modelyard.services.settings_service import SettingsService
from modelyard.services.versions import Versions

WAITING_MESSAGE = "waiting for a worker"
"""The message of work that no worker has taken yet; `Progress.waiting` is the field to read."""

_RESTARTS: dict[JobKind, RestartName] = {
    JobKind.DOWNLOAD: "download",
    JobKind.VERIFY: "verify",
    JobKind.IMPORT: "import",
    JobKind.QUANTIZE: "quantize",
    JobKind.MERGE: "merge",
}
# Of rows: the jobs that they name, their loads under way, and all their unloads, the oldest first.
_JOBS = (
    select(Job)
    .where(
        or_(
            Job.id.in_(bindparam("job_ids", expanding=True)),
            and_(Job.subject_id.in_(bindparam("row_ids", expanding=True)), or_(Job.kind == JobKind.UNLOAD, is_load())),
        )
    )
    .order_by(Job.created_at)
    .execution_options(populate_existing=True)
)
_SHOWS_PROGRESS = (*ACTIVE_STATUSES, ModelStatus.PAUSED, ModelStatus.FAILED)


@dataclass(frozen=True)
class RowFacts:
    """What the database says of a row and beside it; the answer about the row also needs a look at its files."""

    model: Model
    endpoint_url: str
    job: Job | None
    used_by: list[UsedBy]
    last_unload: LastUnload | None
    load: Job | None
    unloading: bool
    last_load_seconds: float | None
    label: Label | None
    shares_snapshot: bool
    """Its snapshot is there for another row."""
    cache: HubCache
    replaced_by: str | None = None
    """The version that is in use in its place."""
    base: Model | None = None
    """Of an adapter: the row of its base, without which it has no architecture."""

    def response(self) -> ModelResponse:
        """Look at the row's files and return the answer; to be called outside of a transaction."""
        return _response(self)


class ModelResponses:
    """Reads what answers about rows consist of: the rows, their jobs, users and Hubs' addresses; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cache = hub_cache()
        self._settings = SettingsService(session)
        self._history = HistoryService(session)

    def of_id(self, row_id: str) -> RowFacts:
        """Raises ModelNotFound."""
        return self.of(ModelService(self.session).get_by_id(row_id))

    def of(self, model: Model) -> RowFacts:
        return self.of_all([model])[0]

    def of_all(self, models: Sequence[Model]) -> list[RowFacts]:
        row_ids = [model.id for model in models]
        job_ids = [model.job_id for model in models if model.job_id]
        found = self.session.scalars(_JOBS, {"job_ids": job_ids, "row_ids": row_ids}).all()
        jobs = {job.id: job for job in found}
        own = set(job_ids)
        unloads = [job for job in found if job.kind is JobKind.UNLOAD]
        loads = {job.subject_id: job for job in reversed(found) if job.kind is not JobKind.UNLOAD and job.id not in own}
        last_unloads = {job.subject_id: _last_unload(job) for job in unloads}
        unloading = {job.subject_id for job in unloads if not job.ended}
        users: dict[str, list[UsedBy]] = {}
        for row in loaded_rows(self.session, row_ids):
            users.setdefault(row.model_row_id, []).append(loaded_by(row))
        for row_id, trainings in training_users(self.session, row_ids).items():
            users.setdefault(row_id, []).extend(trainings)
        load_seconds = self._history.last_load_seconds(row_ids)
        owners = snapshot_owners(self.session, models)
        labels = LabelService(self.session).of(models)
        bases = self._bases(models)
        replaced_by = Versions(self.session).replaced_by(models)
        urls = {reference: self._settings.endpoint_url(reference) for reference in {m.endpoint for m in models}}
        self._read_manifests([model for model in models if _begins_by_its_files(model, jobs.get(model.job_id or ""))])
        return [
            RowFacts(
                model=model,
                endpoint_url=urls[model.endpoint],
                job=jobs.get(model.job_id or ""),
                used_by=users.get(model.id, []),
                last_unload=last_unloads.get(model.id),
                load=loads.get(model.id),
                unloading=model.id in unloading,
                last_load_seconds=load_seconds.get(model.id),
                label=labels.get(model.model_id),
                shares_snapshot=owners.get((model.model_id, model.commit), model.id) != model.id,
                cache=self.cache,
                replaced_by=replaced_by.get(model.id),
                base=bases.get(model.base_id or ""),
            )
            for model in models
        ]

    def _bases(self, models: Sequence[Model]) -> dict[str, Model]:
        """Return the bases of the adapters among these rows, by id."""
        wanted = {model.base_id for model in models if model.base_id is not None}
        if not wanted:
            return {}
        rows = self.session.scalars(select(Model).options(defer(Model.files)).where(Model.id.in_(wanted)))
        return {row.id: row for row in rows}

    def _read_manifests(self, models: Sequence[Model]) -> None:
        """Fill in the manifests that the rows of a list come without; what they begin with again depends on them."""
        lacking = [model.id for model in models if "files" in inspect(model).unloaded]
        if lacking:
            self.session.scalars(select(Model).options(undefer(Model.files)).where(Model.id.in_(lacking))).all()


def _response(facts: RowFacts) -> ModelResponse:
    model, job, load, used_by, cache = facts.model, facts.job, facts.load, facts.used_by, facts.cache
    label = facts.label
    done = model.status is ModelStatus.READY
    disk_bytes = max(model.disk_bytes, job.bytes_done) if job and _has_partial_data(model) else model.disk_bytes
    folder = _folder(model, cache)
    source = facts.base or model
    here = done and source.status is ModelStatus.READY
    template = find_chat_template(_folder(source, cache)) if here else ChatTemplate(None)
    return ModelResponse(
        id=model.id,
        model_id=model.model_id,
        canonical_id=model.canonical_id,
        name=model.name,
        endpoint=facts.endpoint_url,
        revision=model.revision,
        commit=model.commit,
        kind=model.kind.value,
        base_id=model.base_id,
        adapter=AdapterFacts.model_validate(model.adapter) if model.adapter else None,
        status=model.status.value,
        quantization=model.quantization.value,
        architecture=source.architecture,
        model_type=source.model_type,
        num_parameters=model.num_parameters,
        dtype=model.dtype,
        hidden_size=source.hidden_size,
        num_layers=source.num_layers,
        num_attention_heads=source.num_attention_heads,
        num_key_value_heads=source.num_key_value_heads,
        head_dim=source.head_dim,
        intermediate_size=source.intermediate_size,
        vocab_size=source.vocab_size,
        max_position_embeddings=source.max_position_embeddings,
        size_bytes=model.size_bytes,
        downloaded_bytes=(model.size_bytes or 0) if done else (job.bytes_done if job else 0),
        disk_bytes=disk_bytes,
        shared_bytes=disk_bytes - model.artifact_bytes if facts.shares_snapshot else 0,
        original_bytes=disk_bytes - model.artifact_bytes if done and model.artifact_bytes else 0,
        memory_estimated_bytes=model.memory_estimated_bytes,
        memory_method=model.memory_method,
        memory_measured_bytes=model.memory_measured_bytes,
        progress=_load_progress(load) if done and load else _progress(model, job),
        error=ModelError.model_validate(model.error) if model.error else None,
        restarts_with=_restarts_with(model, job, cache),
        last_load_seconds=facts.last_load_seconds,
        loaded=any(user.kind == "loaded" for user in used_by),
        last_unload=facts.last_unload,
        unloading=facts.unloading,
        used_by=used_by,
        drift=stored_drift(model.drift, model.architecture),
        has_chat_template=template.present,
        generates_text=generates_text(source.architecture),
        adopted=model.adopted,
        gated=model.gated,
        licence=model.licence,
        converted_from=model.converted_from and model.converted_from["quantization_type"],
        gguf_file=model.converted_from and model.converted_from["path"],
        merged_from=MergeOrigin.model_validate(model.merged_from) if model.merged_from else None,
        has_custom_code=model.has_custom_code,
        training=TrainingVerdict.model_validate(model.training) if model.training else None,
        remarks=[*config_remarks(folder), *([template.problem] if template.problem else [])] if done else [],
        latest_commit=model.latest_commit,
        update_available=_update_available(model, label),
        checked_at=model.checked_at,
        tags=label.tags if label else [],
        note=label.note if label else "",
        favourite=label.favourite if label else False,
        pinned_commit=label.pinned_commit if label else None,
        replaced_by=facts.replaced_by,
        previous_commit=model.previous_commit,
        job_id=model.job_id,
        snapshot_path=str(folder) if done else None,
        created_at=model.created_at,
        updated_at=max(model.updated_at, job.updated_at) if job and not done else model.updated_at,
    )


def _update_available(model: Model, label: Label | None) -> bool | None:
    """Return whether the branch, or the pin, is at another commit; None where that is not known."""
    if model.latest_commit is None:
        return None
    pinned = label.pinned_commit if label else None
    return model.follows_branch and (pinned or model.latest_commit) != model.hub_commit


def _folder(model: Model, cache: HubCache) -> Path:
    return artifact_of(model) or cache.snapshot_path(model.model_id, model.commit)


def _last_unload(job: Job) -> LastUnload | None:
    return LastUnload.model_validate(job.result) if job.state is JobState.DONE and job.result else None


def _begins_by_its_files(model: Model, job: Job | None) -> bool:
    """Return whether its files decide what a row begins with when it is started again; a failed job resumes itself."""
    return model.status in RESTARTABLE_STATUSES and not (job and model.status is ModelStatus.FAILED)


def _restarts_with(model: Model, job: Job | None, cache: HubCache) -> RestartName | None:
    if _begins_by_its_files(model, job):
        return _RESTARTS.get(next_work(cache, model))
    return _RESTARTS.get(job.kind) if job and model.status in RESTARTABLE_STATUSES else None


def _has_partial_data(model: Model) -> bool:
    return model.status in (ModelStatus.PENDING, ModelStatus.DOWNLOADING, ModelStatus.PAUSED, ModelStatus.FAILED)


def _progress(model: Model, job: Job | None) -> Progress | None:
    if job is None or model.status not in _SHOWS_PROGRESS:
        return None
    if job.state is JobState.FAILED and job.bytes_total is None:
        return None
    if job.state is JobState.QUEUED:
        # Its phase and message are those of the worker that had it last.
        return _progress_of(job, "resolving", WAITING_MESSAGE)
    return _progress_of(job, job.phase or "resolving", job.message)


def _load_progress(job: Job) -> Progress:
    if job.control is JobControl.CANCEL:
        return _progress_of(job, LOADING_PHASE, "stopping")
    if job.state is not JobState.QUEUED:
        return _progress_of(job, LOADING_PHASE, job.message)
    if warm_state().importing:  # and the worker that loads models is only forked afterwards
        progress = _progress_of(job, LOADING_PHASE, IMPORTING_MESSAGE)
        return progress.model_copy(update={"step": ProgressStep.model_validate(STARTING)})
    return _progress_of(job, LOADING_PHASE, WAITING_MESSAGE)


def _progress_of(job: Job, phase: str, message: str | None) -> Progress:
    # A generation is shown only while it waits for the model.
    work = "load" if phase == LOADING_PHASE else job.kind.value
    waiting = job.state is JobState.QUEUED
    return Progress(
        work=work,
        phase=phase,
        bytes_done=job.bytes_done,
        bytes_total=job.bytes_total,
        bytes_per_second=job.bytes_per_second,
        eta_seconds=job.eta_seconds,
        files_done=job.files_done,
        files_total=job.files_total,
        waiting=waiting,
        stopping=job.control is JobControl.CANCEL and not job.ended,
        started_at=job.created_at,
        step=ProgressStep.model_validate(job.step) if job.step and not waiting else None,
        message=message,
    )
