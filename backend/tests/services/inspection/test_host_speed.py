"""A worker measures its host when it has nothing to do, and only then."""

import pytest

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.models import Job, JobKind, JobState
from modelyard.services.jobs.job_service import JobService
from modelyard.workers import host_speed

NAME = "host:instance:inference"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_measures_once_it_has_nothing_to_do(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Database] = []
    monkeypatch.setattr(host_speed, "measure_here", measured.append)
    with database.session() as session:
        job = JobService(session).enqueue(JobKind.LOAD, "row")

    def nothing() -> None:
        """It waits for a worker."""

    def take() -> None:
        with database.session() as session:
            assert JobService(session).claim(job.id, NAME) is not None

    def refuse() -> None:
        raise DatabaseUnavailable("The database is away.")

    def lose_database() -> None:
        monkeypatch.setattr(database.availability, "check", refuse)

    def finish() -> None:
        monkeypatch.setattr(database.availability, "check", lambda: None)
        with database.session() as session:
            JobService(session).finish(job.id, session.get_one(Job, job.id).owner or "", JobState.DONE)

    between_looks = iter([nothing, take, lose_database, finish])

    class Stopping:
        @staticmethod
        def wait(_seconds: float) -> bool:
            assert measured == []
            next(between_looks)()
            return False

    monkeypatch.setattr(host_speed, "stopping", Stopping)
    host_speed.measure_when_idle(database, NAME, ["inference"])
    assert measured == [database]
    assert list(between_looks) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_that_stops_measures_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Database] = []
    monkeypatch.setattr(host_speed, "measure_here", measured.append)
    monkeypatch.setattr(host_speed.stopping, "wait", lambda _seconds: True)
    host_speed.measure_when_idle(database, NAME, ["inference"])
    assert measured == []
