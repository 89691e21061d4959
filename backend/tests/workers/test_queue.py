import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from modelyard.core import queue
from modelyard.core.broker import broker_options
from modelyard.core.errors import InvalidRequest
from modelyard.core.queue import Outbox, get_celery, send_wakeup, wake_after_commit
from modelyard.core.settings import Settings, get_settings
from modelyard.workers.celery_app import run_worker
from support.redis_server import redis_server, running_redis

UseBroker = Callable[[str | None], None]


@pytest.fixture
def use_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UseBroker]:
    """Makes this process an instance of its own, with the given broker URL."""

    def forget() -> None:
        monkeypatch.setattr(queue, "outbox", Outbox())
        get_settings.cache_clear()
        if get_celery.cache_info().currsize:
            get_celery().close()
        get_celery.cache_clear()

    def use(url: str | None) -> None:
        forget()
        if url is not None:
            monkeypatch.setenv("MODELYARD_BROKER_URL", url)

    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODELYARD_BROKER_URL", raising=False)
    yield use
    queue.outbox._waiting.clear()  # it would be sent to the next test's broker
    forget()


@pytest.fixture
def embedded(use_broker: UseBroker) -> None:
    use_broker(None)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engine = create_engine(f"sqlite:///{tmp_path / 'test.db'}")
    with Session(engine) as session:
        yield session
    engine.dispose()


def received(name: str) -> list[object]:
    """The arguments of every waiting message of a queue."""
    assert queue.outbox.flush(10)
    with get_celery().connection_for_read() as connection:
        simple = connection.SimpleQueue(get_celery().amqp.queues[name])  # type: ignore[arg-type]
        arguments = []
        try:
            while True:
                message = simple.get(block=False)
                arguments.append(message.payload[0])
                message.ack()
        except simple.Empty:
            return arguments


@pytest.mark.usefixtures("embedded")
def test_a_wakeup_goes_to_its_queue_only() -> None:
    send_wakeup("compute", "models.quantize", "job1")
    assert received("downloads") == []
    assert received("compute") == [["job1"]]


@pytest.mark.usefixtures("embedded")
def test_wakeups_are_sent_when_the_transaction_has_committed(session: Session) -> None:
    session.execute(text("select 1"))
    wake_after_commit(session, "downloads", "models.download", "job1")
    wake_after_commit(session, "downloads", "models.download", "job2")
    assert received("downloads") == []
    session.commit()
    assert received("downloads") == [["job1"], ["job2"]]
    session.execute(text("select 1"))
    session.commit()
    assert received("downloads") == [], "nothing is sent twice"


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("end", [Session.rollback, Session.close])
def test_wakeups_of_a_transaction_that_ends_otherwise_are_dropped(
    session: Session, end: Callable[[Session], None]
) -> None:
    session.execute(text("select 1"))
    wake_after_commit(session, "downloads", "models.download", "job1")
    end(session)
    session.execute(text("select 1"))
    session.commit()
    assert received("downloads") == []


@pytest.mark.usefixtures("embedded")
def test_a_savepoint_sends_nothing_and_loses_nothing(session: Session) -> None:
    session.execute(text("select 1"))
    wake_after_commit(session, "downloads", "models.download", "job1")
    with session.begin_nested():
        wake_after_commit(session, "downloads", "models.download", "job2")
    assert received("downloads") == []
    session.begin_nested().rollback()
    session.commit()
    assert received("downloads") == [["job1"], ["job2"]]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_down_fails_no_commit(
    use_broker: UseBroker, scheme: str, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    use_broker(f"{scheme}://user:secret@127.0.0.1:{port}")
    session.execute(text("select 1"))
    wake_after_commit(session, "downloads", "models.download", "job1")
    started = time.monotonic()
    session.commit()
    assert time.monotonic() - started < 3
    wait_for(lambda: "jobs wait until it can" in caplog.text)
    assert "secret" not in caplog.text


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_does_not_answer_holds_nobody_up(use_broker: UseBroker, scheme: str, session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_broker(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        get_celery()
        session.execute(text("select 1"))
        wake_after_commit(session, "downloads", "models.download", "job1")
        session.commit()
        assert not queue.outbox.flush(4), "the commit waited for the broker"


def test_what_a_broker_missed_is_sent_when_it_is_back(
    use_broker: UseBroker, tmp_path: Path, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """It has forgotten its queues by then, as a Redis without persistence does."""
    with redis_server(tmp_path) as server:
        use_broker(server.url)
        session.execute(text("select 1"))
        wake_after_commit(session, "downloads", "models.download", "job1")
        session.commit()
        assert received("downloads") == [["job1"]]
        server.kill()
        for number in (2, 3):
            session.execute(text("select 1"))
            wake_after_commit(session, "downloads", "models.download", f"job{number}")
            session.commit()
        wait_for(lambda: "jobs wait until it can" in caplog.text)
        server.start()
        assert sorted(map(str, received("downloads"))) == ["['job2']", "['job3']"]
        server.freeze()
        session.execute(text("select 1"))
        wake_after_commit(session, "downloads", "models.download", "job4")
        session.commit()
        assert not queue.outbox.flush(4)
        server.thaw()
        assert ["job4"] in received("downloads")
    lines = [line for line in caplog.messages if "queue can" in line]
    assert len(lines) == 4, lines


def test_an_unknown_broker_is_refused_with_the_variable_to_change() -> None:
    with pytest.raises(InvalidRequest, match="MODELYARD_BROKER_URL"):
        broker_options(Settings(broker_url="memory://"))


def test_celery_is_not_imported_before_the_first_message() -> None:
    program = "import sys, modelyard.core.queue; sys.exit('celery' in sys.modules or 'kombu' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_worker_for_an_unknown_queue_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'uploads'"):
        run_worker(["downloads", "uploads"])


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with running_redis(tmp_path) as url:
        yield url


@pytest.fixture(params=["embedded", "redis"])
def broker(request: pytest.FixtureRequest, use_broker: UseBroker) -> None:
    use_broker(None if request.param == "embedded" else request.getfixturevalue("redis_url"))


@pytest.mark.usefixtures("broker")
def test_a_worker_runs_what_is_sent_and_answers_control_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    source = Path(__file__).parents[2] / "src"
    monkeypatch.setenv("TINY_NOTES", str(notes))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), str(Path(__file__).parent)]))
    send_wakeup("downloads", "tiny.note", "sent-before-start")
    command = [sys.executable, "-m", "modelyard.workers", "worker", "--celery", "tiny_tasks:celery_app"]
    with subprocess.Popen([*command, "--queues", "downloads,compute"]) as worker:
        try:
            wait_for((notes / "job-sent-before-start").exists)
            send_wakeup("downloads", "tiny.note", "1")
            send_wakeup("compute", "tiny.note", "2")
            send_wakeup("inference", "tiny.note", "not-for-this-worker")
            wait_for((notes / "job-1").exists)
            wait_for((notes / "job-2").exists)
            (reply,) = get_celery().control.ping(timeout=2, limit=1)
            assert list(reply.values()) == [{"ok": "pong"}]
            send_wakeup("downloads", "tiny.wait_until_stopping", "3")
            wait_for((notes / "waiting-3").exists)
        finally:
            worker.terminate()
    assert worker.returncode == 0
    assert (notes / "stopped-3").read_text() == "True\n", "running jobs are told that the worker stops"
    assert not (notes / "job-not-for-this-worker").exists()
    assert received("inference") == [["not-for-this-worker"]]


def _message(**changed: object) -> str:
    """A wake-up as it lies in Redis, with something changed."""
    body = changed.pop("body", base64.b64encode(json.dumps([["bad"], {}, {}]).encode()).decode())
    properties = {
        "delivery_tag": "tag",
        "delivery_info": {"exchange": "modelyard", "routing_key": "downloads"},
        "body_encoding": "base64",
        "delivery_mode": 2,
    }
    headers = {"task": "tiny.note", "id": "one", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return json.dumps(message | changed)


MALFORMED: dict[str, Any] = {
    "garbage": "garbage",
    "bytes": b"\xff\x00\xfe",
    "half": _message()[:100],
    "deep": "[" * 100_000,
    "number": "7",
    "empty": "{}",
    "no properties": _message(properties=None),
    "no delivery": _message(properties={"delivery_tag": "x"}),
    "no headers": _message(headers=None),
    "no id": _message(headers={"task": "tiny.note"}),
    "unknown task": _message(headers={"task": "nothing", "id": "x"}),
    "content type": _message(**{"content-type": "application/x-python-serialize"}),
    "body": _message(body="%%%"),
    "arguments": _message(body=base64.b64encode(b'{"a": 1}').decode()),
}


def test_malformed_entries_are_dropped_with_one_line_each(
    tmp_path: Path, use_broker: UseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    source = Path(__file__).parents[2] / "src"
    monkeypatch.setenv("TINY_NOTES", str(notes))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), str(Path(__file__).parent)]))
    with running_redis(tmp_path) as url, (tmp_path / "log").open("wb") as log:
        use_broker(url)
        command = [sys.executable, "-m", "modelyard.workers", "worker", "--celery", "tiny_tasks:celery_app"]
        with subprocess.Popen([*command, "--queues", "downloads"], stderr=log, stdout=log) as worker:
            try:
                send_wakeup("downloads", "tiny.note", "first")
                wait_for((notes / "job-first").exists)
                client = redis.Redis.from_url(url)
                for entry in MALFORMED.values():
                    client.lpush("modelyard:downloads", entry)
                send_wakeup("downloads", "tiny.note", "last")
                wait_for((notes / "job-last").exists)
                assert worker.poll() is None
            finally:
                worker.terminate()
                worker.wait(30)
    text_logged = (tmp_path / "log").read_text()
    assert text_logged.count("Dropped a message") == len(MALFORMED), text_logged
    assert "Traceback" not in text_logged
    assert len((notes / "pids").read_text().splitlines()) == 1
    assert not (notes / "job-bad").exists()


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
