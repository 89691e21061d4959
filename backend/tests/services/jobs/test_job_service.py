"""Jobs: one owner at a time, whatever happens to workers, clocks and messages."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select

from modelyard.core.database import Database
from modelyard.core.settings import get_settings
from modelyard.models import Job, JobControl, JobKind, JobState, Worker
from modelyard.models.worker import ALIVE_SECONDS
from modelyard.services import maintenance
from modelyard.services.jobs.control import STARTING, JobProgress, JobStep
from modelyard.services.jobs.job_service import GONE_SECONDS, WAKE_BACKOFF_SECONDS, JobService, LeaseLost
from services.conftest import Clock

LEASE = get_settings().lease_seconds
Wakeups = list[tuple[str, str, str]]


@contextmanager
def jobs(database: Database) -> Iterator[JobService]:
    with database.session() as session:
        yield JobService(session)


def enqueue(database: Database, kind: JobKind = JobKind.DOWNLOAD, subject: str = "row") -> str:
    with jobs(database) as service:
        return service.enqueue(kind, subject).id


def claim(database: Database, job_id: str, worker: str = "w1", *, parallel: int | None = None) -> str | None:
    """The owner's name, or None where the claim failed."""
    with jobs(database) as service:
        job = service.claim(job_id, worker, parallel=parallel)
        return job.owner if job else None


def job_of(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)


def beat(database: Database, job_id: str, owner: str, progress: JobProgress | None = None) -> JobControl:
    with jobs(database) as service:
        return service.heartbeat(job_id, owner, progress)


def claimed(database: Database) -> tuple[str, str]:
    job_id = enqueue(database)
    owner = claim(database, job_id)
    assert owner is not None
    return job_id, owner


def ended(database: Database, state: JobState) -> str:
    job_id, owner = claimed(database)
    with jobs(database) as service:
        service.finish(job_id, owner, state)
    return job_id


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        start.wait()
        try:
            results[index] = calls[index]()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# Wake-ups


def test_a_wake_up_is_sent_after_the_commit(database: Database, wakeups: Wakeups) -> None:
    with jobs(database) as service:
        job = service.enqueue(JobKind.DOWNLOAD, "row")
        assert wakeups == []
    assert wakeups == [("downloads", "models.download", job.id)]


def test_no_wake_up_for_what_was_rolled_back(database: Database, wakeups: Wakeups) -> None:
    with database.session() as session:
        JobService(session).enqueue(JobKind.DOWNLOAD, "row")
        session.rollback()
    with jobs(database):
        pass
    assert wakeups == []


def test_reconcile_backs_off_and_never_gives_up(database: Database, clock: Clock, wakeups: Wakeups) -> None:
    job_id = enqueue(database)
    wakeups.clear()
    sent = []
    for _ in range(200):  # seconds
        clock.advance(1)
        with jobs(database) as service:
            sent.append(service.reconcile())
    assert sum(sent) == len(wakeups) == 200 // WAKE_BACKOFF_SECONDS
    assert {wakeup[2] for wakeup in wakeups} == {job_id}


def test_a_job_for_one_worker_is_nobody_elses(database: Database, wakeups: Wakeups) -> None:
    with jobs(database) as service:
        job_id = service.enqueue(JobKind.UNLOAD, "row", worker="vm:gpu0").id
    assert wakeups == [("worker.vm:gpu0", "models.unload", job_id)]
    assert claim(database, job_id, "vm:gpu1") is None
    assert claim(database, job_id, "vm:gpu0") is not None


def addressed(database: Database, clock: Clock, kind: JobKind, worker: str = "vm:gpu0") -> str:
    """A job for one worker, which was seen just now."""
    with database.session() as session:
        session.merge(Worker(name=worker, host="vm", pid=1, queues="inference", seen_at=clock.now))
        return JobService(session).enqueue(kind, "row", worker=worker).id


def test_what_was_meant_for_a_silent_worker_is_for_any(database: Database, clock: Clock, wakeups: Wakeups) -> None:
    generate = addressed(database, clock, JobKind.GENERATE)
    wakeups.clear()
    clock.advance(ALIVE_SECONDS - 1)
    with jobs(database) as service:
        assert service.reconcile() == 0
    clock.advance(2)
    with jobs(database) as service:
        assert service.reconcile() == 1
    assert wakeups == [("inference", "models.generate", generate)]
    assert claim(database, generate, "vm:gpu1") is not None


@pytest.mark.parametrize("taken", [False, True])
def test_an_unload_waits_for_its_worker_until_that_is_given_up(database: Database, clock: Clock, taken: bool) -> None:
    """A worker that is only busy, or stopped, holds the model still."""
    unload = addressed(database, clock, JobKind.UNLOAD)
    if taken:
        assert claim(database, unload, "vm:gpu0") is not None
    clock.advance(GONE_SECONDS - 1)
    with jobs(database) as service:
        assert service.reconcile() == 1
    assert claim(database, unload, "vm:gpu1") is None
    clock.advance(2)
    with jobs(database) as service:
        service.reconcile()
    assert job_of(database, unload).state is JobState.CANCELLED


def test_a_new_worker_need_not_unload_what_its_dead_predecessor_held(database: Database, clock: Clock) -> None:
    waiting, running = (addressed(database, clock, JobKind.UNLOAD) for _ in range(2))
    load = addressed(database, clock, JobKind.LOAD)
    others = addressed(database, clock, JobKind.UNLOAD, "vm:gpu1")
    assert claim(database, running, "vm:gpu0") is not None
    with jobs(database) as service:
        assert service.release_owner("vm:gpu0") == 1
        assert service.drop_unloads("vm:gpu0") == 2
        assert service.drop_unloads("vm:gpu0") == 0
    assert [job_of(database, job_id).state for job_id in (waiting, running, load, others)] == [
        *[JobState.CANCELLED] * 2,
        *[JobState.QUEUED] * 2,
    ]


def test_a_worker_knows_whether_there_is_work_for_it(database: Database, clock: Clock) -> None:
    def has_work(worker: str = "vm:all", queues: Sequence[str] = ("compute", "inference")) -> bool:
        with jobs(database) as service:
            return service.has_work_for(worker, queues)

    assert not has_work()
    for kind, wanted in ((JobKind.DOWNLOAD, False), (JobKind.GENERATE, True), (JobKind.TRAIN, True)):
        job_id = enqueue(database, kind)
        assert has_work() is wanted
        owner = claim(database, job_id, "vm:other")
        assert not has_work()  # another one is at it
        assert has_work("vm:other", ())
        clock.advance(LEASE + 1)
        assert has_work() is wanted
        owner = claim(database, job_id, "vm:all")
        assert owner is not None
        assert has_work(queues=())
        with jobs(database) as service:
            service.finish(job_id, owner, JobState.DONE)
        assert not has_work()
    addressed(database, clock, JobKind.UNLOAD, "vm:other")
    assert not has_work()
    assert has_work("vm:other")


def test_reconcile_wakes_a_job_whose_worker_fell_silent(database: Database, clock: Clock, wakeups: Wakeups) -> None:
    job_id, _owner = claimed(database)
    wakeups.clear()
    clock.advance(LEASE - 1)
    with jobs(database) as service:
        assert service.reconcile() == 0
    clock.advance(1)
    with jobs(database) as service:
        assert service.reconcile() == 1
    assert wakeups == [("downloads", "models.download", job_id)]


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED])
def test_reconcile_leaves_others_alone(database: Database, clock: Clock, wakeups: Wakeups, state: JobState) -> None:
    ended(database, state)
    wakeups.clear()
    clock.advance(1e6)
    with jobs(database) as service:
        assert service.reconcile() == 0
    assert wakeups == []


def test_two_reconcilers_send_one_wake_up(database: Database, clock: Clock, wakeups: Wakeups) -> None:
    for _ in range(5):
        enqueue(database)
    wakeups.clear()
    clock.advance(WAKE_BACKOFF_SECONDS + 1)

    def reconcile() -> int:
        with jobs(database) as service:
            return service.reconcile()

    assert sum(all_at_once([reconcile] * 4)) == 5
    assert len(wakeups) == 5


def test_a_place_that_became_free_goes_to_the_oldest(database: Database, wakeups: Wakeups) -> None:
    ids = [enqueue(database) for _ in range(4)]
    claim(database, ids[0])
    wakeups.clear()
    with jobs(database) as service:
        service.wake_next("downloads", 2)
        service.wake_next("compute", 2)
    assert [wakeup[2] for wakeup in wakeups] == ids[1:3]


def test_a_quantization_and_a_training_run_do_not_wait_for_each_other(database: Database, wakeups: Wakeups) -> None:
    with jobs(database) as service:
        ids = [service.enqueue(kind, "row").id for kind in (JobKind.TRAIN, JobKind.TRAIN, JobKind.QUANTIZE) * 2]
    assert {wakeup[0] for wakeup in wakeups} == {"compute"}
    with jobs(database) as service:
        taken = [service.claim(job_id, "w", parallel=1) is not None for job_id in ids]
    assert taken == [True, False, True, False, False, False]


# Claims and leases


def test_many_threads_one_owner(database: Database) -> None:
    job_id = enqueue(database)
    owners = all_at_once([partial(claim, database, job_id, f"w{n}") for n in range(8)])
    winners = [owner for owner in owners if owner is not None]
    assert len(winners) == 1
    job = job_of(database, job_id)
    assert (job.state, job.owner, job.attempts) == (JobState.RUNNING, winners[0], 1)


def test_a_lease_that_ran_out_can_be_claimed(database: Database, clock: Clock) -> None:
    job_id, first = claimed(database)
    clock.advance(LEASE - 0.001)
    assert claim(database, job_id, "w2") is None
    clock.advance(0.001)
    second = claim(database, job_id, "w2")
    assert second is not None
    assert job_of(database, job_id).attempts == 2
    with pytest.raises(LeaseLost):
        beat(database, job_id, first)
    assert beat(database, job_id, second) is JobControl.RUN


def test_a_late_heartbeat_saves_a_job_nobody_took(database: Database, clock: Clock) -> None:
    job_id, owner = claimed(database)
    clock.advance(LEASE * 3)
    assert beat(database, job_id, owner) is JobControl.RUN
    assert claim(database, job_id, "w2") is None


def test_heartbeats_keep_a_job_for_hours(database: Database, clock: Clock) -> None:
    job_id, owner = claimed(database)
    for _ in range(20):
        clock.advance(LEASE * 0.9)
        beat(database, job_id, owner)
        assert claim(database, job_id, "w2") is None


def test_what_was_sent_and_answered_is_soon_forgotten(database: Database, clock: Clock) -> None:
    """A load that has ended is told of for an hour, a generation may be many megabytes."""

    def end(kind: JobKind) -> str:
        job_id = enqueue(database, kind)
        owner = claim(database, job_id)
        assert owner is not None
        with jobs(database) as service:
            service.finish(job_id, owner, JobState.DONE, result={"choices": []})
        return job_id

    def left() -> list[JobKind]:
        maintenance.reconcile_jobs(database)
        with database.reading() as session:
            return sorted(session.scalars(select(Job.kind)))

    texts = [JobKind.DRIFT, JobKind.EMBED, JobKind.GENERATE]
    for kind in (JobKind.UNLOAD, *texts):
        end(kind)
    running = enqueue(database, JobKind.GENERATE)
    clock.advance(maintenance.TEXTS_KEPT_SECONDS - 10)
    assert left() == sorted([JobKind.UNLOAD, *texts, JobKind.GENERATE])
    clock.advance(20)
    assert left() == sorted([JobKind.UNLOAD, JobKind.GENERATE])
    assert job_of(database, running).state is JobState.QUEUED
    clock.advance(maintenance.REQUESTS_KEPT_SECONDS)
    assert left() == [JobKind.GENERATE]


def test_two_threads_of_one_worker_are_two_owners(database: Database, clock: Clock) -> None:
    """A thread that hung while its lease ran out must not go on beside the one that took over."""
    job_id, hung = claimed(database)
    clock.advance(LEASE)
    again = claim(database, job_id, "w1")
    assert again is not None
    with pytest.raises(LeaseLost):
        beat(database, job_id, hung)
    with pytest.raises(LeaseLost), jobs(database) as service:
        service.finish(job_id, hung, JobState.DONE)
    beat(database, job_id, again)


OWNERS_ACTS: dict[str, Callable[[JobService, str, str], object]] = {
    "heartbeat": lambda service, job_id, owner: service.heartbeat(job_id, owner, JobProgress("downloading", 1)),
    "finish": lambda service, job_id, owner: service.finish(job_id, owner, JobState.FAILED, error={}),
    "requeue": lambda service, job_id, owner: service.requeue(job_id, owner),
}


@pytest.mark.parametrize("act", OWNERS_ACTS.values(), ids=OWNERS_ACTS)
def test_whoever_does_not_own_a_job_changes_nothing(
    database: Database, act: Callable[[JobService, str, str], object]
) -> None:
    job_id, owner = claimed(database)
    for stranger in ("w2", "w1", "", owner + "x"):
        with pytest.raises(LeaseLost), jobs(database) as service:
            act(service, job_id, stranger)
    job = job_of(database, job_id)
    assert (job.state, job.owner, job.bytes_done, job.error) == (JobState.RUNNING, owner, 0, None)


def test_a_job_that_does_not_exist_is_not_owned(database: Database) -> None:
    assert claim(database, "nothing") is None
    with pytest.raises(LeaseLost):
        beat(database, "nothing", "w1")


def test_progress_is_stored_with_the_heartbeat(database: Database, clock: Clock) -> None:
    job_id, owner = claimed(database)
    clock.advance(5)
    step: JobStep = {"name": "reading", "done": 3, "total": 7}
    progress = JobProgress("downloading", 2**40, 2**41, 1e9, 12.5, 3, 7, "retrying", step=step)
    beat(database, job_id, owner, progress)
    job = job_of(database, job_id)
    assert {name: getattr(job, name) for name in vars(progress)} == vars(progress)
    assert job.updated_at == clock.now


def test_a_heartbeat_alone_is_no_news(database: Database, clock: Clock) -> None:
    job_id, owner = claimed(database)
    before = job_of(database, job_id).updated_at
    clock.advance(3)
    beat(database, job_id, owner)
    job = job_of(database, job_id)
    assert job.updated_at == before
    assert job.lease_expires_at is not None
    assert (job.lease_expires_at - clock.now).total_seconds() == LEASE


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_at_once_than_allowed(database: Database, limit: int) -> None:
    ids = [enqueue(database) for _ in range(8)]
    claims = all_at_once([partial(claim, database, id, f"w{id}", parallel=limit) for id in ids])
    owners = {job_id: owner for job_id, owner in zip(ids, claims, strict=True) if owner}
    assert len(owners) == limit
    job_id, owner = owners.popitem()
    with jobs(database) as service:
        service.finish(job_id, owner, JobState.DONE)
    waiting = next(id for id in ids if id not in owners and id != job_id)
    assert claim(database, waiting, parallel=limit) is not None


def test_silent_workers_take_no_place(database: Database, clock: Clock) -> None:
    claimed(database)
    second = enqueue(database)
    assert claim(database, second, parallel=1) is None
    clock.advance(LEASE)
    assert claim(database, second, parallel=1) is not None


# What workers do at the end


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED])
def test_an_end_frees_the_job_once(database: Database, clock: Clock, state: JobState) -> None:
    job_id, owner = claimed(database)
    beat(database, job_id, owner, JobProgress("downloading", 5, 10, 3.0, 2.0, message="retrying", step=STARTING))
    error = {"code": "x"} if state is JobState.FAILED else None
    with jobs(database) as service:
        service.finish(job_id, owner, state, error=error)
    with pytest.raises(LeaseLost), jobs(database) as service:
        service.finish(job_id, owner, JobState.DONE)
    job = job_of(database, job_id)
    assert (job.state, job.owner, job.lease_expires_at, job.error) == (state, None, None, error)
    assert (job.bytes_done, job.bytes_total, job.bytes_per_second, job.eta_seconds) == (5, 10, None, None)
    assert (job.message, job.step) == (None, None)
    assert job.finished_at == (None if state is JobState.PAUSED else clock.now)
    clock.advance(1e6)
    assert claim(database, job_id) is None


def test_a_job_given_back_can_be_taken_at_once(database: Database, clock: Clock, wakeups: Wakeups) -> None:
    job_id, owner = claimed(database)
    with jobs(database) as service:
        service.requeue(job_id, owner)
    wakeups.clear()
    with jobs(database) as service:
        assert service.reconcile() == 1
    assert claim(database, job_id, "w2") is not None
    assert job_of(database, job_id).attempts == 1


def loading(database: Database, subject: str = "row", kind: JobKind = JobKind.LOAD) -> tuple[str, str]:
    """A job whose worker says that it is loading the model."""
    job_id = enqueue(database, kind, subject)
    owner = claim(database, job_id)
    assert owner is not None
    beat(database, job_id, owner, JobProgress("loading", 7, 10))
    return job_id, owner


def test_a_models_loads_are_those_that_wait_or_run(database: Database, clock: Clock) -> None:
    running, _ = loading(database)
    clock.advance(1)
    waiting = enqueue(database, JobKind.LOAD)
    clock.advance(1)
    generation, owner = loading(database, kind=JobKind.GENERATE)
    loading(database, "another row")
    enqueue(database, JobKind.GENERATE)
    with jobs(database) as service:
        assert [job.id for job in service.loads(["row"])] == [running, waiting, generation]
    beat(database, generation, owner, JobProgress("generating"))
    request(database, waiting, JobControl.CANCEL)
    with jobs(database) as service:
        assert [job.id for job in service.loads(["row"])] == [running]


def test_the_last_request_for_a_load_is_taken_back_and_no_other(database: Database, clock: Clock) -> None:
    first, _ = loading(database)
    clock.advance(1)
    second = enqueue(database, JobKind.LOAD)
    clock.advance(1)
    generation, _ = loading(database, kind=JobKind.GENERATE)
    with jobs(database) as service:
        assert service.stop_loading("row")
    assert job_of(database, second).state is JobState.CANCELLED
    assert job_of(database, first).control is job_of(database, generation).control is JobControl.RUN
    with jobs(database) as service:
        assert service.stop_loading("row")
    assert (job_of(database, first).state, job_of(database, first).control) == (JobState.RUNNING, JobControl.CANCEL)
    with jobs(database) as service:
        assert service.stop_loading("row")
        assert not service.stop_loading("row")
    assert job_of(database, generation).control is JobControl.CANCEL


def test_a_load_that_is_taken_over_begins_to_count_anew(database: Database, clock: Clock) -> None:
    load, _ = loading(database)
    download, owner = claimed(database)
    beat(database, download, owner, JobProgress("downloading", 7, 10))
    clock.advance(LEASE * 2)
    for job_id in (load, download):
        assert claim(database, job_id, "w2") is not None
    assert (job_of(database, load).bytes_done, job_of(database, download).bytes_done) == (0, 7)


def test_a_new_worker_frees_the_jobs_of_its_dead_predecessor(
    database: Database, clock: Clock, wakeups: Wakeups
) -> None:
    mine, others, similar = (enqueue(database) for _ in range(3))
    claim(database, mine, "host:downloads")
    other = claim(database, others, "host:compute")
    namesake = claim(database, similar, "host:downloads.2")
    done = ended(database, JobState.DONE)
    wakeups.clear()
    with jobs(database) as service:
        assert service.release_owner("host:downloads") == 1
    assert wakeups == [("downloads", "models.download", mine)]
    assert job_of(database, mine).state is JobState.QUEUED
    assert job_of(database, others).owner == other
    assert job_of(database, similar).owner == namesake
    assert job_of(database, done).state is JobState.DONE
    with jobs(database) as service:
        assert service.release_owner("host_downloads") == 0
        assert service.release_owner("%") == 0


# What users do


def request(database: Database, job_id: str, control: JobControl) -> JobState:
    with jobs(database) as service:
        return service.request(job_id, control)


def resume(database: Database, job_id: str) -> bool:
    with jobs(database) as service:
        return service.resume(job_id)


AFTER = {JobControl.PAUSE: JobState.PAUSED, JobControl.CANCEL: JobState.CANCELLED}
both_wishes = pytest.mark.parametrize("control", AFTER)


@both_wishes
def test_a_waiting_job_changes_at_once(database: Database, control: JobControl) -> None:
    job_id = enqueue(database)
    assert request(database, job_id, control) is AFTER[control]
    assert claim(database, job_id) is None


@both_wishes
def test_a_running_job_is_told(database: Database, control: JobControl) -> None:
    job_id, owner = claimed(database)
    assert request(database, job_id, control) is JobState.RUNNING
    assert beat(database, job_id, owner) is control
    assert claim(database, job_id, "w2") is None


@both_wishes
def test_a_silent_workers_job_changes_at_once(database: Database, clock: Clock, control: JobControl) -> None:
    job_id, owner = claimed(database)
    clock.advance(LEASE)
    assert request(database, job_id, control) is AFTER[control]
    with pytest.raises(LeaseLost):
        beat(database, job_id, owner)
    assert claim(database, job_id, "w2") is None


@both_wishes
def test_a_paused_job(database: Database, control: JobControl) -> None:
    job_id = ended(database, JobState.PAUSED)
    assert request(database, job_id, control) is AFTER[control]


@pytest.mark.parametrize("end", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
@both_wishes
def test_what_has_ended_stays(database: Database, control: JobControl, end: JobState) -> None:
    job_id = ended(database, end)
    assert request(database, job_id, control) is end
    assert job_of(database, job_id).control is JobControl.RUN


@both_wishes
def test_the_job_as_it_is_counts_not_as_it_was_read(database: Database, control: JobControl) -> None:
    """The session read the job while it waited; a worker has taken it since."""
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writing transaction at a time")
    job_id = enqueue(database)
    with database.session() as session:
        assert session.get_one(Job, job_id).state is JobState.QUEUED
        owner = claim(database, job_id)
        assert JobService(session).request(job_id, control) is JobState.RUNNING
    assert owner is not None
    assert beat(database, job_id, owner) is control


def test_a_cancel_is_not_undone_by_a_pause(database: Database) -> None:
    job_id, owner = claimed(database)
    request(database, job_id, JobControl.CANCEL)
    request(database, job_id, JobControl.PAUSE)
    assert beat(database, job_id, owner) is JobControl.CANCEL
    assert resume(database, job_id) is False


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.FAILED])
def test_resume_queues_again(database: Database, wakeups: Wakeups, state: JobState) -> None:
    job_id = ended(database, state)
    wakeups.clear()
    assert resume(database, job_id) is True
    assert wakeups == [("downloads", "models.download", job_id)]
    job = job_of(database, job_id)
    assert (job.state, job.control, job.error, job.finished_at) == (JobState.QUEUED, JobControl.RUN, None, None)
    assert claim(database, job_id) is not None


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED])
def test_resume_of_what_is_over(database: Database, state: JobState) -> None:
    job_id = ended(database, state)
    assert resume(database, job_id) is False
    assert job_of(database, job_id).state is state


def test_resume_withdraws_a_pause_nobody_took_yet(database: Database, wakeups: Wakeups) -> None:
    job_id, owner = claimed(database)
    request(database, job_id, JobControl.PAUSE)
    wakeups.clear()
    assert resume(database, job_id) is True
    assert beat(database, job_id, owner) is JobControl.RUN
    assert wakeups == []
    assert resume(database, job_id) is False


def test_resume_withdraws_a_pause_of_a_worker_that_died(database: Database) -> None:
    job_id, _owner = claimed(database)
    request(database, job_id, JobControl.PAUSE)
    with jobs(database) as service:
        service.release_owner("w1")
    assert resume(database, job_id) is True
    assert job_of(database, job_id).control is JobControl.RUN


# Everything in any order


@dataclass
class Expected:
    state: JobState = JobState.QUEUED
    control: JobControl = JobControl.RUN
    owner: str | None = None
    lease_end: datetime | None = None
    claims: list[str] = field(default_factory=list)
    attempts: int = 0

    def live(self, now: datetime) -> bool:
        return self.state is JobState.RUNNING and self.lease_end is not None and self.lease_end > now

    def claimable(self, now: datetime) -> bool:
        return self.state is JobState.QUEUED or (self.state is JobState.RUNNING and not self.live(now))

    def leave(self, state: JobState) -> None:
        self.state, self.owner, self.lease_end = state, None, None


JOBS = ["job-1", "job-2"]


class JobMachine(RuleBasedStateMachine):
    """Two workers, a user and a clock; what the database says is compared with a few lines of plain Python."""

    database: Database
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        with self.database.session() as session:
            session.execute(delete(Job))
        self.expected = {name: Expected() for name in JOBS}
        for name in JOBS:
            with self.database.session() as session:
                session.add(Job(id=name, kind=JobKind.DOWNLOAD, queue="downloads", subject_id="row"))

    def _later(self) -> datetime:
        clock = Clock()
        clock.now = self.clock.now
        clock.advance(LEASE)
        return clock.now

    @rule(job_id=st.sampled_from(JOBS), worker=st.sampled_from(["w1", "w2"]))
    def claim(self, job_id: str, worker: str) -> None:
        expected = self.expected[job_id]
        owner = claim(self.database, job_id, worker)
        assert (owner is not None) == expected.claimable(self.clock.now)
        if owner is not None:
            expected.state, expected.owner, expected.lease_end = JobState.RUNNING, owner, self._later()
            expected.claims.append(owner)
            expected.attempts += 1

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE, LEASE * 2]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        job_id=st.sampled_from(JOBS), which=st.integers(0, 3), act=st.sampled_from(["heartbeat", "requeue", *JobState])
    )
    def worker_acts(self, job_id: str, which: int, act: str) -> None:
        """Any claim there ever was may speak up again, also a long dead one."""
        expected = self.expected[job_id]
        if not expected.claims or act in (JobState.QUEUED, JobState.RUNNING):
            return
        owner = expected.claims[-1 - which % len(expected.claims)]
        owns = expected.state is JobState.RUNNING and expected.owner == owner
        try:
            with jobs(self.database) as service:
                if act == "heartbeat":
                    assert service.heartbeat(job_id, owner, JobProgress("downloading", which)) is expected.control
                elif act == "requeue":
                    service.requeue(job_id, owner)
                else:
                    service.finish(job_id, owner, JobState(act))
        except LeaseLost:
            assert not owns
            return
        assert owns
        if act == "heartbeat":
            expected.lease_end = self._later()
        else:
            expected.attempts -= act == "requeue"  # no worker died of it
            expected.leave(JobState.QUEUED if act == "requeue" else JobState(act))

    @rule(job_id=st.sampled_from(JOBS), control=st.sampled_from([JobControl.PAUSE, JobControl.CANCEL]))
    def user_asks(self, job_id: str, control: JobControl) -> None:
        expected = self.expected[job_id]
        state = request(self.database, job_id, control)
        if expected.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
            assert state is expected.state
            return
        if expected.control is not JobControl.CANCEL:
            expected.control = control
        if not expected.live(self.clock.now):
            expected.leave(JobState.CANCELLED if expected.control is JobControl.CANCEL else JobState.PAUSED)
        assert state is expected.state

    @rule(job_id=st.sampled_from(JOBS))
    def user_resumes(self, job_id: str) -> None:
        expected = self.expected[job_id]
        resumed = resume(self.database, job_id)
        if expected.state in (JobState.PAUSED, JobState.FAILED):
            expected.leave(JobState.QUEUED)
            expected.control = JobControl.RUN
            assert resumed
        elif expected.state in (JobState.QUEUED, JobState.RUNNING) and expected.control is JobControl.PAUSE:
            expected.control = JobControl.RUN
            assert resumed
        else:
            assert not resumed

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def worker_restarts(self, worker: str) -> None:
        with jobs(self.database) as service:
            service.release_owner(worker)
        for expected in self.expected.values():
            if expected.owner is not None and expected.owner.startswith(f"{worker}/"):
                expected.leave(JobState.QUEUED)

    @rule()
    def reconcile(self) -> None:
        with jobs(self.database) as service:
            service.reconcile()

    @invariant()
    def database_agrees(self) -> None:
        with self.database.reading() as session:
            for job_id, expected in self.expected.items():
                job = session.get_one(Job, job_id)
                assert (job.state, job.control) == (expected.state, expected.control)
                assert (job.owner is not None) == (job.state is JobState.RUNNING)
                assert job.owner == expected.owner
                assert job.attempts == expected.attempts


def test_in_any_order(database: Database, clock: Clock) -> None:
    machine = type("Machine", (JobMachine,), {"database": database, "clock": clock})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_only_the_owner_of_a_running_job_is_told_what_is_wanted(database: Database) -> None:
    job_id, owner = claimed(database)
    with jobs(database) as service:
        service.request(job_id, JobControl.PAUSE)
    with jobs(database) as service:
        assert service.control_of(job_id, owner) is JobControl.PAUSE
        with pytest.raises(LeaseLost):
            service.control_of(job_id, "somebody/else")
        service.finish(job_id, owner, JobState.PAUSED)
    with jobs(database) as service, pytest.raises(LeaseLost):
        service.control_of(job_id, owner)


def test_only_texts_that_were_asked_for_before_are_stopped(database: Database) -> None:
    early, other = enqueue(database, JobKind.GENERATE), enqueue(database, JobKind.LOAD)
    begun = job_of(database, early).created_at + timedelta(microseconds=1)
    late = enqueue(database, JobKind.GENERATE)
    with jobs(database) as service:
        service.session.get_one(Job, late).created_at = begun
    with jobs(database) as service:
        service.stop_texts(before=begun)
    assert [job_of(database, job_id).state for job_id in (early, other, late)] == [
        JobState.CANCELLED,
        JobState.QUEUED,
        JobState.QUEUED,
    ]


def test_the_result_of_a_job_is_kept_and_what_there_was_of_it_too(database: Database) -> None:
    job_id, owner = claimed(database)
    with jobs(database) as service:
        service.finish(job_id, owner, JobState.DONE, result={"text": "an answer"})
    assert job_of(database, job_id).result == {"text": "an answer"}
    other = enqueue(database, subject="other")
    owner = claim(database, other) or ""
    with jobs(database) as service:
        service.session.get_one(Job, other).result = {"text": "an"}
        service.session.flush()
        service.finish(other, owner, JobState.FAILED, error={"code": "x"})
    assert job_of(database, other).result == {"text": "an"}
