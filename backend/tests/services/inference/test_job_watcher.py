"""Who waits for jobs hears of them, and one query looks at all of them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from sqlalchemy import event

from modelyard.core.database import Database
from modelyard.core.errors import Conflict
from modelyard.models import Job, JobKind, JobState
from modelyard.services.inference import job_watcher
from modelyard.services.inference.inference_service import InferenceService
from modelyard.services.inference.job_watcher import JobWatcher
from modelyard.services.jobs.job_service import JobService

WAIT_SECONDS = 60.0
OWNER = "host:inference"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def queued(database: Database) -> str:
    with database.session() as session:
        return JobService(session).enqueue(JobKind.GENERATE, "row").id


def write(database: Database, job_id: str, text: str, *, ends: bool = False) -> None:
    """What a worker writes of a generation."""
    with database.session() as session:
        jobs, job = JobService(session), session.get_one(Job, job_id)
        owner = job.owner
        if owner is None:
            claimed = jobs.claim(job_id, OWNER)
            assert claimed is not None
            owner = claimed.owner or ""
        result = {"choices": [{"text": text}]}
        if ends:
            jobs.finish(job_id, owner, JobState.DONE, result=result)
        else:
            jobs.heartbeat(job_id, owner, None, result)


async def text_of(states: AsyncGenerator[Job], text: str) -> Job:
    """Wait until a watched job has this text."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for job in states:
            if job.result and job.result["choices"][0]["text"] == text:
                return job
    raise AssertionError("the watch ended")


@pytest.mark.anyio
async def test_each_hears_of_its_own_job(database: Database) -> None:
    watcher = JobWatcher(database)
    ids = [queued(database) for _ in range(3)]
    watches = [watcher.watch(job_id) for job_id in ids]
    for number, job_id in enumerate(ids):
        write(database, job_id, f"text {number}")
    for number, states in enumerate(watches):
        assert (await text_of(states, f"text {number}")).id == ids[number]
    write(database, ids[1], "the end", ends=True)
    assert (await text_of(watches[1], "the end")).state is JobState.DONE
    for states in watches:
        await states.aclose()
    async with asyncio.timeout(WAIT_SECONDS):
        while watcher._thread is not None:
            await asyncio.sleep(job_watcher.CHECK_SECONDS)


@pytest.mark.anyio
async def test_an_embedded_database_is_looked_at_when_it_was_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.file is None:
        pytest.skip("a database server does not tell")
    for name in ("POLL_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(job_watcher, name, WAIT_SECONDS * 2)
    watcher, job_id = JobWatcher(database), queued(database)
    states = watcher.watch(job_id)
    await anext(states)
    looks = 0
    look = watcher._look

    def counted(watches: Sequence[job_watcher._Watch]) -> dict[job_watcher._Watch, Job | Exception]:
        nonlocal looks
        looks += 1
        return look(watches)

    monkeypatch.setattr(watcher, "_look", counted)
    await asyncio.sleep(job_watcher.FIRST_SECONDS * 10)
    assert not looks
    await asyncio.to_thread(write, database, job_id, "text")
    assert (await text_of(states, "text")).id == job_id
    assert 1 <= looks <= 3  # it was written twice: claimed, and its result
    await states.aclose()


@pytest.mark.anyio
async def test_one_query_looks_at_all_jobs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer that is waited for would otherwise cost a query of its own, twenty times a second."""
    for name in ("POLL_SECONDS", "FIRST_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(job_watcher, name, WAIT_SECONDS)  # none but this test's look, after the first ones
    watcher = JobWatcher(database)
    watches = [watcher.watch(queued(database)) for _ in range(8)]
    for states in watches:
        await anext(states)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_unused: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        assert watcher._look(list(watcher._watches)) == {}
        assert len(statements) == 1
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
        for states in watches:
            await states.aclose()


@pytest.mark.anyio
async def test_who_waits_is_told_when_there_is_no_news(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a client that has gone is noticed, and a silent connection is kept open."""
    monkeypatch.setattr(job_watcher, "QUIET_SECONDS", 0.0)
    states = JobWatcher(database).watch(queued(database))
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await anext(states)) is (await anext(states))
    await states.aclose()


@pytest.mark.anyio
async def test_a_job_that_is_gone_ends_its_watch_alone(database: Database) -> None:
    watcher = JobWatcher(database)
    kept, gone = (watcher.watch(job_id) for job_id in (queued(database), "no-such-job"))
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(Conflict):
            await anext(gone)
        assert (await anext(kept)).state is JobState.QUEUED
    await kept.aclose()


@pytest.mark.anyio
async def test_a_job_that_goes_later_ends_its_watch(database: Database) -> None:
    job_id = queued(database)
    states = JobWatcher(database).watch(job_id)
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await anext(states)).state is JobState.QUEUED
        with database.session() as session:
            session.delete(session.get_one(Job, job_id))
        with pytest.raises(Conflict):
            await text_of(states, "never")


@pytest.mark.anyio
async def test_two_who_wait_for_one_job_hear_the_same(database: Database) -> None:
    watcher, job_id = JobWatcher(database), queued(database)
    first = watcher.watch(job_id)
    async with asyncio.timeout(WAIT_SECONDS):
        await anext(first)
        await asyncio.to_thread(write, database, job_id, "text")
        await text_of(first, "text")
        second = watcher.watch(job_id)
        await text_of(second, "text")
        await asyncio.to_thread(write, database, job_id, "more", ends=True)
        for states in (first, second):
            assert (await text_of(states, "more")).ended
            await states.aclose()


@pytest.mark.anyio
async def test_leaving_a_generation_stops_it(database: Database) -> None:
    inference, job_id = InferenceService(database), queued(database)
    steps = inference.follow(job_id)
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await anext(steps)).result is None
        await steps.aclose()
    with database.reading() as session:
        assert session.get_one(Job, job_id).state is JobState.CANCELLED
