"""Models in memory: asking inference workers to load, unload and generate, and seeing what they hold."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.database import Database, database_now
from modelyard.core.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidRequest,
    ModelyardError,
    NotReady,
    error_from,
    no_language_head,
)
from modelyard.core.model_types import generates_text
from modelyard.models import Job, JobControl, JobKind, JobState, LoadedModel, Model, ModelStatus
from modelyard.schemas.inference import (
    DriftRequest,
    GenerateRequest,
    LoadedModelResponse,
    LoadedPage,
    LoadRequest,
    Message,
)
from modelyard.services.activations.interventions import resolve
from modelyard.services.architecture_service import local_checkpoint
from modelyard.services.facts.chat_template import find_chat_template
from modelyard.services.inference.generation_result import Choice
from modelyard.services.inference.job_watcher import JobWatcher
from modelyard.services.inference.load_spec import original_folder
from modelyard.services.inference.served import Served
from modelyard.services.inspection.fast_dtype import FAST, SLOW
from modelyard.services.inspection.memory_service import MemoryService
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import (
    DriftPayload,
    EmbedPayload,
    FasterLoad,
    GenerateInput,
    GeneratePayload,
    LoadOptions,
    LoadPayload,
    Payload,
)
from modelyard.services.model_files import artifact_of, hub_cache
from modelyard.services.model_service import ModelService
from modelyard.services.model_usage import loaded_rows
from modelyard.services.settings_service import SettingsService

OPTION_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """Where a job stands: `waiting` for a worker, or in the `phase` that its worker reports."""

    waiting: bool = True
    phase: str | None = None
    message: str | None = None
    bytes_done: int = 0
    bytes_total: int | None = None


@dataclass(frozen=True)
class Generation:
    """What a job has written so far; `result` at its end."""

    choices: Sequence[Choice]
    result: dict[str, Any] | None
    stage: Stage = Stage()


class StartedGeneration(NamedTuple):
    """A generation that was queued, and what is to be said of its interventions."""

    job_id: str
    warnings: Sequence[str]


class InferenceService:
    """The API's side; the models themselves live in `workers.inference_tasks`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._watcher = JobWatcher(database)

    def start_load(self, row_id: str, request: LoadRequest) -> None:
        """Queue a load, of an adapter beside its base. Raises ModelNotFound, NotReady, BaseMissing."""
        base = self.served(row_id).row
        payload = self._load_payload(base, request)
        dtypes = {payload.dtype, payload.faster.dtype} if payload.faster else {payload.dtype}
        with self.database.session() as session:
            ModelService(session).get_by_id(row_id).error = None
            worker = holder(session, base.id, device=request.device, dtypes=dtypes)
            JobService(session).enqueue(JobKind.LOAD, row_id, payload, worker=worker)

    def start_unload(self, row_id: str) -> None:
        """Queue an unload; of a model that is not loaded yet, take the last request to load it back.

        Raises ModelNotFound, Conflict when it is neither loaded nor being loaded.
        """
        with self.database.session() as session:
            model, jobs = ModelService(session).get_by_id(row_id), JobService(session)
            holders = {loaded.worker for loaded in loaded_rows(session, [row_id])}
            if holders:
                model.error = None
                for worker in holders:
                    jobs.enqueue(JobKind.UNLOAD, row_id, worker=worker)
            elif not jobs.stop_loading(row_id):
                raise Conflict(f"{model.model_id} is not loaded.", hint="GET /models/loaded lists what is.")

    def list_loaded(self) -> LoadedPage:
        """Return what is in memory now, as far as its workers still say so."""
        with self.database.reading() as session:
            rows = session.execute(
                select(LoadedModel, Model)
                .join(Model, Model.id == LoadedModel.model_row_id)
                .where(LoadedModel.lease_expires_at > database_now(session))
                .order_by(LoadedModel.loaded_at)
            ).all()
        return LoadedPage(
            items=[
                LoadedModelResponse(
                    id=model.id,
                    model_id=model.model_id,
                    quantization=model.quantization.value,
                    device=loaded.device,
                    dtype=loaded.dtype,
                    host=loaded.host,
                    measured_bytes=loaded.measured_bytes,
                    load_seconds=loaded.load_seconds,
                    in_use=loaded.in_use,
                    pinned=loaded.pinned,
                    expires_at=loaded.expires_at,
                    last_unload=loaded.last_unload,
                )
                for loaded, model in rows
            ]
        )

    def start_generate(self, row_id: str, request: GenerateRequest) -> str:
        """Queue a generation; the model is loaded if it is not. Returns the job's id.

        Raises ModelNotFound, NotReady, BaseMissing, InvalidRequest, UnsupportedArchitecture.
        """
        given = given_input(request.prompt, request.messages)
        served = self.served(row_id)
        options = request.model_dump(include={"max_new_tokens", "temperature", "seed"})
        fields = {"inputs": [given], "adapter": served.adapter_id, "interventions": request.interventions}
        return self.start(served.row, fields | options).job_id

    def served(self, row_id: str) -> Served:
        """Return what a ready row stands for. Raises ModelNotFound, NotReady, BaseMissing."""
        with self.database.reading() as session:
            return Served.of(session, _ready(ModelService(session).get_by_id(row_id)))

    def start(self, row: Model, fields: Mapping[str, Any], *, ttl_seconds: float | None = None) -> StartedGeneration:
        """Queue a generation with these fields of a GeneratePayload.

        `ttl_seconds`, if given, is how long after its last use the model is unloaded, loaded already or not. Raises
        UnsupportedArchitecture where the model generates no text.
        """
        require_language_head(row)
        payload = GeneratePayload(**self._with_interventions(row, fields), load=self.any_load(row, ttl_seconds))
        return StartedGeneration(self.enqueue(JobKind.GENERATE, row, payload), payload.warnings)

    def _with_interventions(self, row: Model, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields with interventions on modules. Raises as `resolve` does."""
        if not (given := fields.get("interventions")):
            return dict(fields)
        with self.database.reading() as session:
            rules = SettingsService(session).path_rules().stored()
        found = resolve(self.database, row, given)
        return {**fields, "interventions": found.interventions, "warnings": found.warnings, "path_rules": rules}

    def start_embed(
        self,
        row: Model,
        inputs: Sequence[str | list[int]],
        *,
        adapter: str | None = None,
        ttl_seconds: float | None = None,
    ) -> str:
        """Queue embeddings of texts or of token ids; `ttl_seconds` as in `start`. Returns the job's id."""
        payload = EmbedPayload(inputs=list(inputs), adapter=adapter, load=self.any_load(row, ttl_seconds))
        return self.enqueue(JobKind.EMBED, row, payload)

    def enqueue(self, kind: JobKind, row: Model, payload: Payload) -> str:
        """Queue a request, for the worker that has the model if there is one. Returns the job's id."""
        with self.database.session() as session:
            return JobService(session).enqueue(kind, row.id, payload, worker=holder(session, row.id)).id

    def any_load(self, row: Model, ttl_seconds: float | None = None) -> LoadPayload:
        """Return how to load a row for work that any copy in memory will do for; `ttl_seconds` as in `start`."""
        with self.database.reading() as session:
            is_held = bool(loaded_rows(session, [row.id]))
        load = self._load_payload(row, LoadRequest(), is_held=is_held)
        if ttl_seconds is None:
            return load
        return load.model_copy(update={"ttl_seconds": ttl_seconds, "sets_ttl": True})

    def start_drift(self, row_id: str, request: DriftRequest) -> str:
        """Queue a comparison of a quantized copy with its original on a text. Returns the job's id.

        Raises ModelNotFound, NotReady, and Conflict where the row is no copy or its original is not here.
        """
        with self.database.reading() as session:
            row = _ready(ModelService(session).get_by_id(row_id))
        original_folder(row)
        payload = DriftPayload(text=request.text, option_bytes=self._option_bytes(row, "auto"))
        with self.database.session() as session:
            worker = holder(session, row_id, dtypes={"auto"})
            return JobService(session).enqueue(JobKind.DRIFT, row_id, payload, worker=worker).id

    async def run(self, row: Model, fields: Mapping[str, Any]) -> AsyncGenerator[Generation]:
        """Queue a generation and follow it. Leaving early stops it, also while it is being queued.

        Raises what `start` raises, and the error it ended with.
        """
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(None, self.start, row, fields)

        def stop(started: asyncio.Future[StartedGeneration]) -> None:
            if not started.cancelled() and started.exception() is None:
                loop.run_in_executor(None, self._stop, started.result().job_id)

        try:
            job_id = (await asyncio.shield(starting)).job_id
        except asyncio.CancelledError:
            starting.add_done_callback(stop)
            raise
        async with aclosing(self.follow(job_id)) as steps:
            async for step in steps:
                yield step

    async def follow(self, job_id: str) -> AsyncGenerator[Generation]:
        """Yield a generation or comparison, as it changes and now and then; the last one has the result.

        Leaving early stops it. Raises the error it ended with.
        """
        finished = False
        try:
            async with aclosing(self._watcher.watch(job_id)) as states:
                async for job in states:
                    result = job.result or {}
                    finished = job.ended
                    if job.state is JobState.FAILED:
                        raise error_from(job.error or {})
                    if job.state is JobState.CANCELLED:
                        raise Conflict("Loading the model was stopped.", hint="Ask again to load it.")
                    yield Generation(result.get("choices", []), result if finished else None, _stage(job))
                    if finished:
                        return
        finally:
            if not finished:
                with suppress(DatabaseUnavailable):
                    await asyncio.shield(asyncio.to_thread(self._stop, job_id))

    def _stop(self, job_id: str) -> None:
        with self.database.session() as session:
            JobService(session).request(job_id, JobControl.CANCEL)

    def _load_payload(self, row: Model, request: LoadRequest, *, is_held: bool = False) -> LoadPayload:
        """Return how to load a row; without estimates for one that `is_held` in memory, and most likely stays there."""
        return LoadPayload(
            **request.model_dump(),
            option_bytes=_known_bytes(row, request.dtype) if is_held else self._option_bytes(row, request.dtype),
            faster=None if is_held else self._faster(row, request.device, request.dtype),
        )

    def _faster(self, row: Model, device: str, dtype: str) -> FasterLoad | None:
        """Return what replaces options on a host that is slow in the row's dtype, where the settings prefer that."""
        if row.dtype != SLOW or dtype != "auto" or device not in ("auto", "cpu"):
            return None
        with self.database.reading() as session:
            if not SettingsService(session).prefer_fast_dtype():
                return None
        return FasterLoad(dtype=FAST, option_bytes=self._option_bytes(row, FAST))

    def _option_bytes(self, row: Model, dtype: str) -> dict[str, int]:
        """Return the estimated bytes of each precision: what a loader without enough memory can point to."""
        known = _known_bytes(row, dtype)
        try:
            checkpoint = local_checkpoint(row)
        except ModelyardError:
            checkpoint = None
        if checkpoint is not None:
            known |= MemoryService(self.database).options(checkpoint, dtype=dtype, seconds=OPTION_SECONDS)
        return known


def _known_bytes(row: Model, dtype: str) -> dict[str, int]:
    size = row.memory_measured_bytes or row.memory_estimated_bytes
    return {row.quantization.value: size} if dtype == "auto" and size is not None else {}


def given_input(prompt: str | None, messages: list[Message] | None) -> GenerateInput:
    """Return what a request gives to continue or to answer. Raises InvalidRequest unless it is one of the two."""
    if (prompt is None) == (messages is None):
        raise InvalidRequest("Send either a prompt or messages.", hint="Exactly one of the two.")
    return GenerateInput(text=prompt, messages=messages)


def require_language_head(row: Model) -> None:
    """Raise UnsupportedArchitecture where a model generates no text."""
    if generates_text(row.architecture) is False:
        raise no_language_head(str(row.architecture))


def require_chat_template(row: Model, name: str, *, hint: str) -> None:
    """Raise InvalidRequest where a model's tokenizer has no chat template."""
    folder = artifact_of(row) or hub_cache().snapshot_path(row.model_id, row.commit)
    if find_chat_template(folder).present is False:
        raise InvalidRequest(f"{name} has no chat template.", hint=hint, param="messages")


def _stage(job: Job) -> Stage:
    if job.state is JobState.QUEUED:
        return Stage()
    return Stage(False, job.phase, job.message, job.bytes_done, job.bytes_total)


def holder(session: Session, row_id: str, *, dtypes: Collection[str] | None = None, device: str = "auto") -> str | None:
    """Return the least busy worker that has the model in memory in this way, or soon will; None: any may.

    With no `dtypes` any will do, and one as stored goes before others.
    """

    def fits(its_dtype: str, its_device: str) -> bool:
        return (dtypes is None or its_dtype in dtypes) and device in ("auto", its_device)

    held = [loaded for loaded in loaded_rows(session, [row_id]) if fits(loaded.dtype, loaded.device)]
    if held:
        return min(held, key=lambda loaded: (loaded.dtype != "auto", loaded.in_use)).worker
    owners = [
        job.owner
        for job in JobService(session).loads([row_id])
        if job.owner is not None and job.control is JobControl.RUN and fits(*_way(job))
    ]
    return owners[-1].rpartition("/")[0] if owners else None


def _way(job: Job) -> tuple[str, str]:
    """Return the dtype and the device a load was asked for in; a generation names neither."""
    asked = LoadPayload.of(job) if job.kind is JobKind.LOAD else LoadOptions()
    return asked.dtype, asked.device


def _ready(row: Model) -> Model:
    if row.status is not ModelStatus.READY:
        raise NotReady(f"{row.model_id} is {row.status}.", hint="Wait until it is ready.")
    return row
