"""Claims and leases on PostgreSQL, by hosts whose clocks are wrong, and by hosts that vanish."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, make_url, select

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.models import Job, JobKind, JobState, Worker
from modelyard.services import system_service
from modelyard.services.jobs.job_service import JobService
from support.tcp_proxy import proxy_to

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)

HOLD = """
import os, signal, sys
from modelyard.core.database import Database
from modelyard.services.jobs.job_service import JobService
with Database(sys.argv[1]).session() as session:
    assert JobService(session).claim(sys.argv[2], "vanished", parallel=9) is not None
    print("claimed", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""

Clock = Callable[[float], None]


@pytest.fixture
def clock_is_off(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets this host's clock, for everything of ours, ahead by so many seconds."""

    def shift(seconds: float) -> None:
        for module in ("core.database", "services.model_deletion", "services.inference.loaded_models", "models.job"):
            monkeypatch.setattr(
                f"modelyard.{module}.utc_now", lambda: datetime.now(UTC) + timedelta(seconds=seconds), raising=False
            )

    return shift


def enqueue(database: Database, count: int = 1) -> list[str]:
    with database.session() as session:
        return [JobService(session).enqueue(JobKind.DOWNLOAD, f"row{number}").id for number in range(count)]


def claim(database: Database, job_id: str, worker: str, parallel: int | None = 9) -> str | None:
    with database.session() as session:
        job = JobService(session).claim(job_id, worker, parallel=parallel)
        return None if job is None else job.owner


@pytest.mark.parametrize("seconds", [-120.0, 120.0])
def test_a_wrong_clock_takes_no_live_job(database: Database, clock_is_off: Clock, seconds: float) -> None:
    (job_id,) = enqueue(database)
    owner = claim(database, job_id, "right")
    assert owner is not None
    clock_is_off(seconds)
    assert claim(database, job_id, "wrong") is None
    with database.session() as session:
        assert JobService(session).reconcile() == 0


@pytest.mark.parametrize("seconds", [-120.0, 120.0])
def test_the_job_of_a_wrong_clock_is_not_taken(database: Database, clock_is_off: Clock, seconds: float) -> None:
    (job_id,) = enqueue(database)
    clock_is_off(seconds)
    owner = claim(database, job_id, "wrong")
    assert owner is not None
    with database.session() as session:
        JobService(session).heartbeat(job_id, owner, None)
    clock_is_off(0)
    assert claim(database, job_id, "right") is None
    with database.session() as session:
        lease = session.get_one(Job, job_id).lease_expires_at
        assert lease is not None
        assert abs((lease - datetime.now(UTC)).total_seconds() - 30) < 10


@pytest.mark.parametrize("seconds", [-120.0, 120.0])
def test_a_new_job_waits_as_long_whatever_the_clocks(database: Database, clock_is_off: Clock, seconds: float) -> None:
    clock_is_off(seconds)
    enqueue(database)
    clock_is_off(0)
    with database.session() as session:
        assert JobService(session).reconcile() == 0
        wake_after = session.scalars(select(Job.wake_after)).one()
    assert timedelta(seconds=20) < wake_after - datetime.now(UTC) < timedelta(seconds=40)


@pytest.mark.parametrize("seconds", [-120.0, 120.0])
def test_a_worker_with_a_wrong_clock_is_seen(
    database: Database, clock_is_off: Clock, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelyard.workers import lifecycle

    monkeypatch.setattr(lifecycle.stopping, "wait", lambda _seconds: True)  # no thread of its own goes on
    clock_is_off(seconds)
    started_at = lifecycle._take_over(database, "wrong", "downloads")
    with database.session() as session:
        session.delete(session.get_one(Worker, "wrong"))  # whatever became of its row
    with database.session() as session:
        lifecycle._write_seen(session, "wrong", "downloads", started_at)
    clock_is_off(0)
    with database.reading() as session:
        (seen,) = system_service.workers(session)
    assert seen.alive
    assert abs((seen.seen_at - datetime.now(UTC)).total_seconds()) < 10


@contextmanager
def stopped(database_url: str, job_id: str) -> Iterator[None]:
    """A process that claims a job and is suspended before it can commit."""
    with subprocess.Popen([sys.executable, "-c", HOLD, database_url, job_id], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        yield
        process.kill()


@contextmanager
def cut_off(database_url: str, job_id: str) -> Iterator[None]:
    """A host that claims a job and loses its network before it can commit."""
    url = make_url(database_url)
    assert url.port is not None
    with proxy_to(url.port) as proxy:
        there = Database(url.set(port=proxy.port).render_as_string(hide_password=False))
        with ExitStack() as stack:
            stack.enter_context(pytest.raises(DatabaseUnavailable))
            session = stack.enter_context(there.session())
            assert JobService(session).claim(job_id, "vanished", parallel=9) is not None
            proxy.forwarding.clear()
            yield
            proxy.close()
        there.dispose()


@pytest.mark.parametrize("vanishing", [stopped, cut_off])
def test_a_host_that_vanishes_in_a_claim_holds_nobody_up(
    database: Database, database_url: str, vanishing: Callable[[str, str], "ExitStack"]
) -> None:
    vanished, waiting = enqueue(database, 2)
    with vanishing(database_url, vanished):
        begun = time.monotonic()
        assert claim(database, waiting, "here") is not None
        assert time.monotonic() - begun < 30  # a lost connection is noticed after minutes
        assert claim(database, vanished, "here") is not None, "it never had the job"


def test_many_claimers_never_run_more_than_the_limit(database: Database, database_url: str) -> None:
    """Hosts with connections of their own claim, finish and give back at random; each counts what runs beside it."""
    parallel, ids = 3, enqueue(database, 40)
    hosts = [Database(database_url) for _ in range(3)]
    counts: list[int] = []
    errors: list[BaseException] = []

    def work(host: Database, name: str, chance: random.Random) -> None:
        try:
            for job_id in chance.sample(ids, len(ids)) * 2:
                owner = claim(host, job_id, name, parallel)
                if owner is None:
                    continue
                time.sleep(chance.uniform(0.05, 0.15))  # longer than a claim takes
                with host.session() as session:
                    running = select(func.count()).select_from(Job).where(Job.state == JobState.RUNNING)
                    counts.append(session.scalar(running) or 0)
                    if chance.random() < 0.3:
                        JobService(session).requeue(job_id, owner)
                    else:
                        JobService(session).finish(job_id, owner, JobState.DONE)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    workers = [
        threading.Thread(target=work, args=(host, f"h{n}w{m}", random.Random(n * 10 + m)))
        for n, host in enumerate(hosts)
        for m in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    for host in hosts:
        host.dispose()
    assert errors == []
    assert len(counts) > 20
    assert max(counts) == parallel
