"""A worker's side of a job: kept alive while work runs, steered by the user, ended in job and row together."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from modelyard.core.database import Database, DatabaseChanges
from modelyard.core.errors import DatabaseUnavailable, DiskFull, HubUnreachable
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Job, JobControl, JobKind, JobState, Model, ModelStatus
from modelyard.services import model_service
from modelyard.services.jobs.control import JobCancelled, JobPaused, JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.maintenance import check_files
from modelyard.services.model_service import ModelService
from modelyard.workers import job_runner
from modelyard.workers.job_runner import MODEL_ENDINGS, RequestStopped, RunningJob, run_job, run_request
from services.cache import (
    COMMIT,
    MODEL_ID,
    bytes_below,
    new_row,
    note_manifest,
    part,
    remote_files,
    resume_waiting,
    store,
)

Work = Callable[[RunningJob], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    cache = HubCache(tmp_path / "hub")
    monkeypatch.setattr(model_service, "hub_cache", lambda: cache)
    return cache


@pytest.fixture(autouse=True)
def _worker(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(job_runner, "get_database", lambda: database)
    monkeypatch.setattr(job_runner, "MAX_HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(job_runner, "stopping", threading.Event())
    monkeypatch.setenv("MODELYARD_WORKER_NAME", "host:downloads")
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heartbeat-")]


@pytest.fixture
def queued(database: Database, cache: HubCache) -> tuple[str, str]:
    """(row id, job id) of a download that waits for a worker."""
    with database.session() as session:
        row = new_row(session, cache)
        return row.id, ModelService(session, cache).start_download(row).id


def states(database: Database, ids: tuple[str, str]) -> tuple[ModelStatus, JobState]:
    with database.reading() as session:
        return session.get_one(Model, ids[0]).status, session.get_one(Job, ids[1]).state


def ask(database: Database, job_id: str, control: JobControl) -> None:
    with database.session() as session:
        JobService(session).request(job_id, control)


def obeys(job: RunningJob) -> None:
    """Work that looks at what is wanted, as a download does."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        match job.control():
            case JobControl.PAUSE:
                raise JobPaused
            case JobControl.CANCEL:
                raise JobCancelled
        time.sleep(0.01)
    raise AssertionError("nobody wanted anything")


def test_a_request_that_was_taken_back_is_cancelled(database: Database, queued: tuple[str, str]) -> None:
    def work(job: RunningJob) -> dict[str, str]:
        ask(database, job.id, JobControl.CANCEL)
        job.flush()
        assert job.control() is JobControl.CANCEL
        raise RequestStopped

    run_request(queued[1], work, on_failure=lambda *_: pytest.fail("it did not fail"))
    assert states(database, queued) == (ModelStatus.PENDING, JobState.CANCELLED)


def test_a_request_whose_worker_stops_is_left_to_the_next(database: Database, queued: tuple[str, str]) -> None:
    def work(job: RunningJob) -> dict[str, str]:
        job_runner.stopping.set()
        assert job.control() is JobControl.PAUSE
        raise RequestStopped

    run_request(queued[1], work)
    assert states(database, queued) == (ModelStatus.PENDING, JobState.QUEUED)


def test_done(database: Database, cache: HubCache, queued: tuple[str, str]) -> None:
    def work(job: RunningJob) -> None:
        assert (job.id, job.subject_id) == (queued[1], queued[0])
        job.report(JobProgress("downloading", 7, 10))
        store(cache)

    run_job(queued[1], work)
    assert states(database, queued) == (ModelStatus.READY, JobState.DONE)
    with database.reading() as session:
        assert session.get_one(Model, queued[0]).disk_bytes == bytes_below(cache.cache_dir)
        assert session.get_one(Job, queued[1]).bytes_done == 7


def test_a_second_message_for_the_same_job_does_nothing(database: Database, queued: tuple[str, str]) -> None:
    runs = []

    def work(job: RunningJob) -> None:
        runs.append(1)
        run_job(queued[1], lambda _job: runs.append(2))

    run_job(queued[1], work)
    run_job(queued[1], work)
    run_job("no-such-job", work)
    assert runs == [1]


@pytest.mark.parametrize("expected", [True, False])
def test_failed(
    database: Database,
    cache: HubCache,
    queued: tuple[str, str],
    expected: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    unfinished = part(cache)

    def work(_job: RunningJob) -> None:
        raise HubUnreachable("Away.") if expected else ZeroDivisionError("secret detail")

    run_job(queued[1], work)
    assert ("ZeroDivisionError" in caplog.text) is not expected
    assert states(database, queued) == (ModelStatus.FAILED, JobState.FAILED)
    assert unfinished.exists()
    with database.reading() as session:
        error = session.get_one(Model, queued[0]).error
    assert error is not None
    assert error["code"] == ("hub_unreachable" if expected else "internal_error")
    assert error["hint"]
    assert "secret" not in str(error)


def test_work_that_meets_a_database_outage_is_queued_again(database: Database, queued: tuple[str, str]) -> None:
    def work(_job: RunningJob) -> NoReturn:
        raise DatabaseUnavailable("Away.")

    run_job(queued[1], work)
    assert states(database, queued)[1] is JobState.QUEUED
    with database.reading() as session:
        assert session.get_one(Job, queued[1]).attempts == 0
    run_request(queued[1], work)
    assert states(database, queued)[1] is JobState.QUEUED


def test_the_end_of_a_job_is_written_when_the_database_is_back(
    database: Database, cache: HubCache, queued: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "RETRY_SECONDS", 0.01)
    tries = []

    def completed(*arguments: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise DatabaseUnavailable("Away.")
        MODEL_ENDINGS.completed(*arguments)

    def work(_job: RunningJob) -> None:
        store(cache)

    run_job(queued[1], work, replace(MODEL_ENDINGS, completed=completed))
    assert states(database, queued) == (ModelStatus.READY, JobState.DONE)
    assert len(tries) == 3


def test_a_worker_that_stops_does_not_wait_for_the_database(database: Database, queued: tuple[str, str]) -> None:
    def work(_job: RunningJob) -> None:
        job_runner.stopping.set()

    def away(*_arguments: Any) -> None:
        raise DatabaseUnavailable("Away.")

    run_job(queued[1], work, replace(MODEL_ENDINGS, completed=away))
    assert states(database, queued)[1] is JobState.RUNNING, "its lease runs out"


@pytest.mark.parametrize("kind", [JobKind.DOWNLOAD, JobKind.QUANTIZE])
def test_a_full_disk_pauses(database: Database, queued: tuple[str, str], kind: JobKind) -> None:
    def work(_job: RunningJob) -> None:
        raise DiskFull("Full.")

    with database.session() as session:
        session.get_one(Job, queued[1]).kind = kind

    run_job(queued[1], work)
    assert states(database, queued) == (ModelStatus.PAUSED, JobState.PAUSED)
    with database.session() as session:
        models = ModelService(session)
        assert models.get_by_id(queued[0]).error is not None
        assert resume_waiting(session) == 1
        assert models.get_by_id(queued[0]).error is None
    assert states(database, queued) == (ModelStatus.PENDING, JobState.QUEUED)
    with database.reading() as session:
        assert session.get_one(Job, queued[1]).kind is kind


@pytest.mark.parametrize(
    ("control", "status", "state"),
    [
        (JobControl.PAUSE, ModelStatus.PAUSED, JobState.PAUSED),
        (JobControl.CANCEL, ModelStatus.CANCELLED, JobState.CANCELLED),
    ],
)
def test_what_the_user_wants(
    database: Database,
    cache: HubCache,
    queued: tuple[str, str],
    control: JobControl,
    status: ModelStatus,
    state: JobState,
) -> None:
    with database.session() as session:
        row = session.get_one(Model, queued[0])
        note_manifest(row, cache)
    store(cache)
    unfinished = part(cache)
    asking = threading.Thread(target=ask, args=(database, queued[1], control))

    def work(job: RunningJob) -> None:
        asking.start()
        obeys(job)

    run_job(queued[1], work)
    asking.join()
    assert states(database, queued) == (status, state)
    assert unfinished.exists() == (control is JobControl.PAUSE)
    kept = cache.inventory(MODEL_ID, COMMIT, remote_files()).present
    assert bool(kept) == (control is JobControl.PAUSE)


@pytest.mark.parametrize("broken", ["remove_files", "inventory", "snapshot_bytes"])
@pytest.mark.parametrize(
    ("control", "status", "state"),
    [
        (JobControl.PAUSE, ModelStatus.PAUSED, JobState.PAUSED),
        (JobControl.CANCEL, ModelStatus.CANCELLED, JobState.CANCELLED),
        (JobControl.RUN, ModelStatus.FAILED, JobState.FAILED),
    ],
)
def test_a_disk_that_may_not_be_used_does_not_keep_a_job_from_its_end(
    database: Database,
    cache: HubCache,
    queued: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    control: JobControl,
    status: ModelStatus,
    state: JobState,
    broken: str,
) -> None:
    with database.session() as session:
        row = session.get_one(Model, queued[0])
        note_manifest(row, cache)
    store(cache)

    def refused(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(cache.cache_dir))

    def work(job: RunningJob) -> None:
        if control is JobControl.RUN:
            raise HubUnreachable("Away.")
        ask(database, queued[1], control)
        obeys(job)

    with monkeypatch.context() as disk:
        disk.setattr(HubCache, broken, refused)
        run_job(queued[1], work)
        assert states(database, queued) == (status, state)
    if control is JobControl.CANCEL and broken == "remove_files":
        with database.reading() as session:
            error = session.get_one(Model, queued[0]).error
        assert error is not None
        assert error["code"] == "storage_denied"
        check_files(database, set())
        with database.reading() as session:
            assert session.get_one(Model, queued[0]).error is None
        assert not cache.inventory(MODEL_ID, COMMIT, remote_files()).present


def test_a_wish_of_before_the_worker_died_is_still_one(database: Database, queued: tuple[str, str]) -> None:
    with database.session() as session:
        JobService(session).claim(queued[1], "host:downloads")
        ModelService(session).pause(queued[0])
        JobService(session).release_owner("host:downloads")
    run_job(queued[1], obeys)
    assert states(database, queued) == (ModelStatus.PAUSED, JobState.PAUSED)


def test_a_worker_that_stops_gives_its_job_back(
    database: Database, queued: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    monkeypatch.setattr(job_runner, "stopping", stopping)
    threading.Timer(0.1, stopping.set).start()
    run_job(queued[1], obeys)
    assert states(database, queued)[1] is JobState.QUEUED
    with database.session() as session:
        assert JobService(session).claim(queued[1], "other") is not None


@pytest.mark.parametrize("end", ["returns", "obeys", "fails"])
def test_a_job_that_was_taken_over_is_left_alone(database: Database, queued: tuple[str, str], end: str) -> None:
    def work(job: RunningJob) -> None:
        with database.session() as session:
            session.get_one(Job, queued[1]).owner = "other/1"
        if end == "obeys":
            obeys(job)
        if end == "fails":
            raise HubUnreachable("Away.")

    run_job(queued[1], work)
    with database.reading() as session:
        job = session.get_one(Job, queued[1])
        assert (job.state, job.owner, job.error) == (JobState.RUNNING, "other/1", None)
        assert session.get_one(Model, queued[0]).status is ModelStatus.PENDING


def test_the_lease_is_kept_while_work_runs(
    database: Database, queued: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "get_settings", lambda: SimpleNamespace(lease_seconds=0.6))

    def lease() -> object:
        with database.reading() as session:
            return session.get_one(Job, queued[1]).lease_expires_at

    def work(job: RunningJob) -> None:
        before = lease()
        deadline = time.monotonic() + 10
        while lease() == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    run_job(queued[1], work)
    assert states(database, queued)[1] is JobState.DONE


def test_work_without_news_is_only_looked_at(
    database: Database, queued: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "get_settings", lambda: SimpleNamespace(lease_seconds=60_000.0))
    written, looks = [], 0
    is_changed = DatabaseChanges.any

    def looked(changes: DatabaseChanges) -> bool:
        nonlocal looks
        looks += 1
        return is_changed(changes)

    monkeypatch.setattr(DatabaseChanges, "any", looked)
    monkeypatch.setattr(RunningJob, "_send", lambda _job, *news: written.append(news))

    def work(job: RunningJob) -> None:
        while looks < 5:
            time.sleep(0.01)
        ask(database, job.id, JobControl.CANCEL)
        obeys(job)

    run_job(queued[1], work)
    assert states(database, queued)[1] is JobState.CANCELLED
    assert written == []


def test_the_next_in_line_is_woken(
    database: Database, cache: HubCache, queued: tuple[str, str], wakeups: list[tuple[str, str, str]]
) -> None:
    with database.session() as session:
        row = new_row(session, cache, quantization="8bit")
        waiting = ModelService(session, cache).start_download(row).id
    wakeups.clear()
    run_job(queued[1], lambda _job: None)
    assert wakeups == [("downloads", "models.download", waiting)]


def test_a_request_returns_its_result_and_leaves_the_row_alone(database: Database, queued: tuple[str, str]) -> None:
    run_request(queued[1], lambda _job: {"text": "hello"})
    assert states(database, queued) == (ModelStatus.PENDING, JobState.DONE)
    with database.reading() as session:
        assert session.get_one(Job, queued[1]).result == {"text": "hello"}


def test_the_first_result_so_far_is_written_at_once(
    database: Database, queued: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "get_settings", lambda: SimpleNamespace(lease_seconds=60_000.0))
    monkeypatch.setattr(job_runner, "REQUEST_HEARTBEAT_SECONDS", 10_000.0)  # no heartbeat comes in time

    def written() -> dict[str, Any] | None:
        with database.reading() as session:
            return session.get_one(Job, queued[1]).result

    def work(job: RunningJob) -> dict[str, Any]:
        job.publish(lambda: {"text": "h"})
        deadline = time.monotonic() + 60
        while written() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert written() == {"text": "h"}
        return {"text": "hello"}

    run_request(queued[1], work)
    assert states(database, queued) == (ModelStatus.PENDING, JobState.DONE)
    assert written() == {"text": "hello"}


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800b"])
def test_an_odd_text_ends_a_job_once(database: Database, queued: tuple[str, str], odd: str) -> None:
    with database.session() as session:
        job_id = JobService(session).enqueue(JobKind.GENERATE, queued[0]).id

    run_request(job_id, lambda _job: {"text": odd, "logprob": float("nan")})
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.result) == (JobState.DONE, {"text": "a\ufffdb", "logprob": None})

    def fail(_job: RunningJob) -> None:
        raise HubUnreachable(odd)

    run_job(queued[1], fail)
    assert states(database, queued) == (ModelStatus.FAILED, JobState.FAILED)
    with database.reading() as session:
        assert (session.get_one(Job, queued[1]).error or {})["message"] == "a\ufffdb"


def test_an_outcome_that_cannot_be_written_is_said_and_not_tried_again(
    database: Database, queued: tuple[str, str]
) -> None:
    runs = []
    with database.session() as session:
        job_id = JobService(session).enqueue(JobKind.GENERATE, queued[0]).id

    def work(job: RunningJob) -> dict[str, Any]:
        runs.append(job.id)
        return {"text": object()}  # no JSON

    run_request(job_id, work)
    run_request(job_id, work)
    assert runs == [job_id]
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert job.state is JobState.FAILED
        assert (job.error or {})["code"] == "internal_error"
        assert "could not be written" in (job.error or {})["message"]

    def unwritable(*_: object) -> None:
        raise ValueError("no")

    run_job(queued[1], lambda _job: None, replace(MODEL_ENDINGS, completed=unwritable))
    assert states(database, queued) == (ModelStatus.FAILED, JobState.FAILED)
