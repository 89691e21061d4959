"""Who gets a request for a model in memory, and what an inference worker writes of it."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import UnsupportedArchitecture
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Job, JobControl, JobKind, JobState, LoadedModel, Model, Worker
from modelyard.schemas.inference import GenerateRequest, LoadRequest
from modelyard.services.inference import inference_service
from modelyard.services.inference.inference_service import InferenceService
from modelyard.services.inference.loaded_models import LoadedModels
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.kinds import LOADING_PHASE
from modelyard.services.jobs.payloads import LoadPayload
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.workers import celery_app, inference_tasks, job_runner
from modelyard.workers.job_runner import run_request
from services.cache import ready_row

WORKER = "host:inference"


@pytest.fixture
def row(database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> Model:
    for module in (inference_tasks, job_runner):
        monkeypatch.setattr(module, "get_database", lambda: database)
    monkeypatch.setattr(inference_service.MemoryService, "options", lambda *_arguments, **_options: {})
    monkeypatch.setenv("MODELYARD_WORKER_NAME", WORKER)
    with database.session() as session:
        return ready_row(session, cache)


def jobs_of(database: Database, kind: JobKind) -> list[Job]:
    with database.reading() as session:
        return [job for job in session.query(Job).order_by(Job.created_at) if job.kind is kind]


def holds(database: Database, row: Model, worker: str, *, dtype: str = "auto", device: str = "cpu") -> None:
    with database.session() as session:
        session.add(
            LoadedModel(
                model_row_id=row.id,
                worker=worker,
                device=device,
                dtype=dtype,
                host="host",
                measured_bytes=1,
                load_seconds=1.0,
                lease_expires_at=utc_now().replace(year=2100),
            )
        )


def loads(database: Database, row: Model, worker: str, kind: JobKind = JobKind.LOAD, **asked: str) -> str:
    """A load that a worker is at."""
    with database.session() as session:
        service = JobService(session)
        job = service.enqueue(kind, row.id, LoadPayload(**asked) if asked else None)  # type: ignore[arg-type]
        claimed = service.claim(job.id, worker)
        assert claimed is not None
        service.heartbeat(job.id, claimed.owner or "", JobProgress(LOADING_PHASE))
        return job.id


def asked_of(database: Database, row: Model, **request: str) -> str | None:
    """The worker that a load is for."""
    InferenceService(database).start_load(row.id, LoadRequest(**request))  # type: ignore[arg-type]
    return jobs_of(database, JobKind.LOAD)[-1].worker


def generation_of(database: Database, row: Model) -> str | None:
    """The worker that a generation is for."""
    InferenceService(database).start_generate(row.id, GenerateRequest(prompt="A"))
    return jobs_of(database, JobKind.GENERATE)[-1].worker


def test_a_request_goes_where_the_model_is_in_this_way(database: Database, row: Model) -> None:
    assert (asked_of(database, row), generation_of(database, row)) == (None, None)
    holds(database, row, "vm:gpu0", dtype="float32", device="cuda:0")
    assert asked_of(database, row, dtype="float32") == "vm:gpu0"
    assert asked_of(database, row, dtype="float32", device="cpu") is None
    assert asked_of(database, row) is None
    assert generation_of(database, row) == "vm:gpu0"  # it names no dtype: what is there will do
    holds(database, row, "vm:gpu1")
    assert generation_of(database, row) == asked_of(database, row) == "vm:gpu1"


def test_a_request_goes_where_the_model_is_being_loaded_in_this_way(database: Database, row: Model) -> None:
    loads(database, row, "vm:gpu0", dtype="float32", device="cuda:0")
    assert asked_of(database, row) is None
    assert asked_of(database, row, dtype="float32", device="cuda:1") is None
    assert asked_of(database, row, dtype="float32") == "vm:gpu0"
    assert generation_of(database, row) == "vm:gpu0"
    loads(database, row, "vm:gpu1", JobKind.GENERATE)
    assert asked_of(database, row) == "vm:gpu1"
    assert asked_of(database, row, device="cuda:0") is None


def test_a_model_without_a_language_head_is_not_asked_for_text(database: Database, row: Model) -> None:
    with database.session() as session:
        session.get_one(Model, row.id).architecture = "BertModel"
    with pytest.raises(UnsupportedArchitecture, match="BertModel has no language head"):
        generation_of(database, row)
    assert jobs_of(database, JobKind.GENERATE) == []


def test_a_load_that_is_being_stopped_draws_nobody(database: Database, row: Model) -> None:
    job_id = loads(database, row, "vm:gpu0", dtype="auto", device="auto")
    assert asked_of(database, row) == "vm:gpu0"
    with database.session() as session:
        JobService(session).request(job_id, JobControl.CANCEL)
    assert asked_of(database, row) is None


@dataclass(frozen=True)
class Key:
    model_id: str
    commit: str
    quantization: str = "none"
    device: str = "cpu"
    dtype: str = "auto"


@dataclass(frozen=True)
class Info:
    key: Key
    measured_bytes: int = 1000
    load_seconds: float = 1.0
    in_use: int = 0
    pinned: bool = False
    expires_at: None = None
    last_unload: None = None


@dataclass(frozen=True)
class Unloaded:
    key: Key
    freed_bytes: int
    held_before_bytes: int
    mapped_bytes: int


@dataclass
class Loader:
    """What is loaded, as a loader tells it; `before_answer` comes between its looking and its answer."""

    held: list[Info] = field(default_factory=list)
    before_answer: Callable[[], object] = lambda: None

    def loaded(self) -> list[Info]:
        held = list(self.held)
        self.before_answer()
        return held


@pytest.fixture
def loader(row: Model) -> Loader:
    return Loader([Info(Key(row.model_id, row.commit))])


def loaded_models() -> LoadedModels:
    return inference_tasks._loaded_models()


def publish(loader: Loader) -> None:
    loaded_models().publish(loader)  # type: ignore[arg-type]


def rows_loaded(database: Database) -> int:
    with database.reading() as session:
        return session.query(LoadedModel).count()


def test_an_older_look_is_not_written_over_a_newer_one(database: Database, loader: Loader) -> None:
    publish(loader)
    looked, go_on = threading.Event(), threading.Event()

    def lag() -> None:
        looked.set()
        assert go_on.wait(30)

    late = threading.Thread(target=publish, args=(Loader(loader.held, before_answer=lag),))
    late.start()
    assert looked.wait(30)
    loader.held = []  # unloaded meanwhile
    newer = threading.Thread(target=publish, args=(loader,))
    newer.start()
    newer.join(0.5)
    go_on.set()
    for thread in (late, newer):
        thread.join(30)
    assert rows_loaded(database) == 0


def test_what_came_back_is_told_whoever_unloaded_the_model(database: Database, row: Model, loader: Loader) -> None:
    publish(loader)
    key = loader.held.pop().key
    loaded_models().note_unload(loader, Unloaded(key, 990, 1500, 500))  # type: ignore[arg-type]
    publish(loader)
    assert rows_loaded(database) == 0
    with database.reading() as session:
        events = ModelService(session).jobs.history.page(row.id, limit=10, offset=0).items
    assert [(event.kind, event.bytes, event.freed_bytes) for event in events if event.event == "done"][:2] == [
        ("unload", 1000, 990),
        ("load", 1000, None),
    ]


FAILURE = {"code": "invalid_request", "message": "There is no device 'cuda:0' here.", "hint": "Use cpu."}


def error_of(database: Database, row: Model) -> dict[str, Any] | None:
    with database.reading() as session:
        error = ModelResponses(session).of_id(row.id).response().error
        return None if error is None else error.model_dump()


@pytest.mark.parametrize("kind", [JobKind.LOAD, JobKind.UNLOAD])
def test_a_rows_error_says_which_request_failed_and_goes_with_the_next_success(
    database: Database, row: Model, kind: JobKind
) -> None:
    loaded_models().note_failure(kind, row.id, FAILURE)
    assert error_of(database, row) == FAILURE | {"during": kind.value}
    loaded_models().forget_failure(row.id)
    assert error_of(database, row) is None


def test_an_unload_that_succeeds_clears_what_failed_before(
    database: Database, row: Model, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_tasks, "_loader", lambda: Loader())
    loaded_models().note_failure(JobKind.LOAD, row.id, FAILURE)
    with database.session() as session:
        job_id = JobService(session).enqueue(JobKind.UNLOAD, row.id).id
    inference_tasks.unload_model_task(job_id)
    assert error_of(database, row) is None


def test_a_downloads_error_stays(database: Database, row: Model) -> None:
    with database.session() as session:
        session.get_one(Model, row.id).error = FAILURE
    loaded_models().forget_failure(row.id)
    assert error_of(database, row) == FAILURE | {"during": None}


def test_a_row_tells_that_it_is_being_unloaded(database: Database, row: Model) -> None:
    def unloading() -> bool:
        with database.reading() as session:
            return ModelResponses(session).of_id(row.id).response().unloading

    assert not unloading()
    with database.session() as session:
        job = JobService(session).enqueue(JobKind.UNLOAD, row.id, worker=WORKER)
    assert unloading()
    run_request(job.id, lambda _job: {"freed_bytes": 1, "held_before_bytes": 1} if unloading() else {})
    assert not unloading()
    assert jobs_of(database, JobKind.UNLOAD)[0].state is JobState.DONE


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(celery_app.os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(inference_tasks, "PUBLISH_SECONDS", 0.01)
    return sent


def test_an_empty_worker_that_holds_too_much_begins_anew_when_it_has_nothing_to_do(
    database: Database, row: Model, loader: Loader, signals: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        session.add(Worker(name=WORKER, host="host", pid=os.getpid(), queues="compute,inference"))
        job = JobService(session).enqueue(JobKind.TRAIN, "training")
    monkeypatch.setattr(inference_tasks, "EMPTY_RSS_BYTES", 0)
    stop = threading.Event()
    monkeypatch.setattr(inference_tasks, "stopping", stop)
    thread = threading.Thread(target=inference_tasks._keep_published, args=(loader,))
    thread.start()

    def does_nothing() -> None:
        thread.join(0.3)
        assert thread.is_alive()
        assert signals == []

    does_nothing()
    loader.held = []
    does_nothing()  # a training run waits for it
    with database.session() as session:
        JobService(session).request(job.id, JobControl.CANCEL)
    thread.join(30)
    assert signals == [(os.getpid(), signal.SIGTERM)]
    stop.set()


class App:
    """Of Celery's only what `run_worker` uses; its worker is told at once to give back its memory."""

    exitcode = 0

    def __init__(self) -> None:
        self.amqp = self.queues = self

    def add(self, _queue: object) -> None:
        pass

    def Worker(self, **_options: Any) -> "App":
        return self

    def start(self) -> None:
        celery_app.restart_process()


def test_a_worker_that_begins_anew_ends_for_its_supervisor(
    signals: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_WORKER_NAME", "")  # set by the worker
    assert celery_app.run_worker(["inference"], app=App()) == 0  # type: ignore[arg-type]
    assert signals == [(os.getpid(), signal.SIGTERM)]
