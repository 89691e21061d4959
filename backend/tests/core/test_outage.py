"""A PostgreSQL server that stops, starts again, freezes, or keeps a lock for somebody who is gone."""

import logging
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable
from support.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="module")
def _server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def server(_server: PostgresServer) -> Iterator[PostgresServer]:
    yield _server
    _server.thaw()
    _server.stop()
    _server.start()


@pytest.fixture
def outside(server: PostgresServer) -> Iterator[Database]:
    database = Database(server.url)
    ask(database)
    yield database
    database.dispose()


def ask(database: Database) -> None:
    with database.session() as session:
        session.execute(text("SELECT 1"))


def refused_within(database: Database, seconds: float) -> None:
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        ask(database)
    assert time.monotonic() - begun < seconds


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_restart_between_two_calls_is_not_seen(server: PostgresServer, outside: Database) -> None:
    server.stop()
    server.start()
    ask(outside)


def test_a_stopped_server_is_one_line_until_it_is_back(
    server: PostgresServer, outside: Database, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    for _ in range(20):
        refused_within(outside, 10)
    assert len(told(caplog)) == 1
    server.start()
    assert outside.availability.wait(30)
    ask(outside)
    assert [line[:28] for line in told(caplog)] == ["The database does not answer", "The database answers again, "]


def test_a_frozen_server_is_noticed_and_then_refused_at_once(
    server: PostgresServer, outside: Database, caplog: pytest.LogCaptureFixture
) -> None:
    server.freeze()
    refused_within(outside, 20)
    begun = time.monotonic()
    for _ in range(20):
        refused_within(outside, 10)
    assert time.monotonic() - begun < 10, "each waited for the server, for seconds"
    server.thaw()
    assert outside.availability.wait(30)
    ask(outside)
    assert len(told(caplog)) == 2


def test_a_server_that_freezes_under_a_statement_does_not_keep_the_caller(
    server: PostgresServer, outside: Database
) -> None:
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailable), outside.session() as session:  # noqa: PT012
        session.execute(text("SELECT 1"))
        session.connection().connection.dbapi_connection.answer_seconds = 1.5  # type: ignore[union-attr]
        server.freeze()
        session.execute(text("SELECT 2"))
    assert 1 < time.monotonic() - begun < 30


def test_a_crash_under_a_transaction_rolls_it_back(server: PostgresServer, outside: Database) -> None:
    with outside.session() as session:
        session.execute(text("CREATE TABLE kept (x int)"))
    with pytest.raises(DatabaseUnavailable), outside.session() as session:  # noqa: PT012
        session.execute(text("INSERT INTO kept VALUES (1)"))
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        session.execute(text("INSERT INTO kept VALUES (2)"))
    assert outside.availability.wait(30)
    with outside.reading() as session:
        assert session.execute(text("SELECT count(*) FROM kept")).scalar() == 0


def test_a_lock_that_somebody_keeps_is_not_waited_for_without_end(
    server: PostgresServer, outside: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(server.url.replace("+psycopg", "")) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(7)")
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="busy"), outside.session() as session:
            session.execute(text("SELECT pg_advisory_xact_lock(7)"))
        assert time.monotonic() - begun < 30
    ask(outside)  # no outage: everything else goes on
    assert len(told(caplog)) == 1


def test_our_own_idle_transaction_ends_by_itself(server: PostgresServer, outside: Database) -> None:
    with pytest.raises(DatabaseUnavailable), outside.session() as session:  # noqa: PT012
        session.execute(text("SET idle_in_transaction_session_timeout = 500"))
        time.sleep(1)
        session.execute(text("SELECT 1"))
    ask(outside)


def test_calls_at_the_moment_of_the_freeze_all_come_back(server: PostgresServer, outside: Database) -> None:
    results: list[str] = []

    def call() -> None:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                ask(outside)
                results.append("ok")
            except DatabaseUnavailable:
                results.append("away")
                time.sleep(0.05)

    threads = [threading.Thread(target=call) for _ in range(30)]
    for thread in threads:
        thread.start()
    while "ok" not in results:
        time.sleep(0.01)
    server.freeze()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert {"ok", "away"} == set(results)


def test_what_has_to_be_done_first_is_done_before_the_outage_ends(server: PostgresServer, outside: Database) -> None:
    done = []

    def work() -> None:
        with outside.translating(), outside.engine.connect() as connection:
            done.append(connection.execute(text("SELECT 1")).scalar())
            time.sleep(0.5)
        assert not outside.availability.wait(0)

    outside.availability.require(work)
    server.stop()
    refused_within(outside, 20)
    server.start()
    assert outside.availability.wait(30)
    assert done == [1]
