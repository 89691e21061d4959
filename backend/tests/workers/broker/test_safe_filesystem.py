import multiprocessing
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError

from modelyard.workers.broker import bells, safe_filesystem

QUEUE = Queue("downloads", Exchange("test"), routing_key="downloads")
WAIT_SECONDS = 60.0
FAN = Exchange("fan", type="fanout")


def _size(connection: Connection, queue: str) -> int:
    """How many messages wait in a queue; kombu's types do not know it."""
    channel: Any = connection.default_channel
    size: int = channel._size(queue)
    return size


def connect(folder: Path, polling_interval: float = 0.01) -> Connection:
    options = {"folder": str(folder), "polling_interval": polling_interval}
    return Connection(transport="modelyard.workers.broker.safe_filesystem:Transport", transport_options=options)


def publish(folder: Path, prefix: str, count: int) -> None:
    with connect(folder) as connection:
        producer = connection.Producer()
        for number in range(count):
            producer.publish(f"{prefix}{number}", exchange=QUEUE.exchange, routing_key="downloads", declare=[QUEUE])


def consume(folder: Path, received: Path, total: int) -> None:
    """Note every message in a file of this process, until all processes together have noted `total`."""
    mine = received / multiprocessing.current_process().name
    with connect(folder) as connection, mine.open("a", buffering=1) as notes:
        queue = connection.SimpleQueue(QUEUE)  # type: ignore[arg-type]
        deadline = time.monotonic() + 60
        while len(all_received(received)) < total and time.monotonic() < deadline:
            try:
                message = queue.get(timeout=0.2)
            except queue.Empty:
                continue
            notes.write(f"{message.payload}\n")
            message.ack()


def all_received(received: Path) -> list[str]:
    return [line for file in received.iterdir() for line in file.read_text().splitlines()]


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[safe_filesystem.Channel]:
    with connect(tmp_path) as connection:
        yield connection.default_channel


def messages(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "messages").iterdir())


def test_every_message_of_competing_processes_is_delivered_exactly_once(tmp_path: Path) -> None:
    broker, received = tmp_path / "broker", tmp_path / "received"
    received.mkdir()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=publish, args=(broker, prefix, 300)) for prefix in "ab"]
    processes += [spawn.Process(target=consume, args=(broker, received, 600)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
        assert process.exitcode == 0
    assert sorted(all_received(received)) == sorted(f"{prefix}{number}" for prefix in "ab" for number in range(300))
    assert messages(broker) == []
    assert list((broker / "damaged").iterdir()) == []


def test_messages_are_delivered_in_the_order_they_were_sent(tmp_path: Path) -> None:
    publish(tmp_path, "m", 20)
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue(QUEUE)  # type: ignore[arg-type]
        received = []
        for _ in range(20):
            message = queue.get(timeout=1)
            received.append(message.payload)
            message.ack()
    assert received == [f"m{number}" for number in range(20)]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"body": "x", "properties": {}}'])
def test_a_damaged_message_is_set_aside_and_the_next_one_delivered(
    tmp_path: Path, channel: safe_filesystem.Channel, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "messages" / "00000000000000000001_x.downloads").write_bytes(content)
    publish(tmp_path, "good", 1)
    assert channel._get("downloads")["properties"]["delivery_info"]["routing_key"] == "downloads"
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == ["00000000000000000001_x.downloads"]
    assert "Skipped a damaged queue message" in caplog.text
    assert messages(tmp_path) == []


def test_a_message_that_is_still_being_written_is_not_seen(tmp_path: Path, channel: safe_filesystem.Channel) -> None:
    publish(tmp_path, "m", 1)
    (name,) = messages(tmp_path)
    (tmp_path / "messages" / name).rename(tmp_path / "messages" / f".new-0-{name}")
    assert channel._size("downloads") == 0
    with pytest.raises(Empty):
        channel._get("downloads")


def test_what_a_killed_process_left_is_put_right_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "m", 1)
    (name,) = messages(tmp_path)
    folder = tmp_path / "messages"
    (folder / name).rename(folder / f".claimed-{time.time_ns()}-{name}")  # killed between the claim and the reading
    (folder / ".new-0-unfinished").write_text("{")  # killed while writing

    connect(tmp_path).channel()
    assert len(messages(tmp_path)) == 2, "both may belong to a process that is alive"
    monkeypatch.setattr(safe_filesystem, "UNFINISHED_SECONDS", 0.0)
    connect(tmp_path).channel()
    assert messages(tmp_path) == [name]


def test_a_message_that_cannot_be_written_is_an_error_and_leaves_nothing(
    tmp_path: Path, channel: safe_filesystem.Channel
) -> None:
    with pytest.raises(ChannelError, match="cannot add a message"):
        channel._put("q" * 300, {})  # no filesystem takes such a name
    assert messages(tmp_path) == []


def bind(folder: Path, name: str) -> None:
    with connect(folder) as connection:
        Queue(name, FAN)(connection.default_channel).declare()


def test_queues_bound_at_the_same_moment_all_receive_a_broadcast(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    names = [f"worker{number}@host/.." for number in range(6)]
    processes = [spawn.Process(target=bind, args=(tmp_path, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    with connect(tmp_path) as connection:
        connection.Producer().publish("hello", exchange=FAN, declare=[FAN])
        assert [_size(connection, name) for name in names] == [1] * 6


def test_a_deleted_queue_gets_no_more_broadcasts(tmp_path: Path) -> None:
    bind(tmp_path, "one")
    bind(tmp_path, "two")
    with connect(tmp_path) as connection:
        queue = Queue("one", FAN)(connection.default_channel)
        queue.declare()
        queue.delete()
    with connect(tmp_path) as connection:
        connection.Producer().publish("hello", exchange=FAN, declare=[FAN])
        assert [_size(connection, name) for name in ("one", "two")] == [0, 1]


def test_a_damaged_exchange_table_is_written_anew(tmp_path: Path) -> None:
    publish(tmp_path, "m", 1)
    (tmp_path / "exchanges" / "test.json").write_bytes(b"")
    publish(tmp_path, "n", 1)
    assert len(messages(tmp_path)) == 2


def test_a_message_wakes_who_waits_for_it(tmp_path: Path) -> None:
    """Nobody looks before that: the next look would come too late."""
    with connect(tmp_path, polling_interval=WAIT_SECONDS * 2) as connection:
        queue = connection.SimpleQueue(QUEUE)  # type: ignore[arg-type]
        for number in range(5):
            publisher = multiprocessing.get_context("spawn").Process(target=publish, args=(tmp_path, f"{number}-", 1))
            publisher.start()
            began = time.monotonic()
            message = queue.get(timeout=WAIT_SECONDS)
            assert message.payload == f"{number}-0"
            assert time.monotonic() - began < WAIT_SECONDS  # then it would be found without a bell
            message.ack()
            publisher.join()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.1)


def test_a_message_is_found_where_no_bell_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue(QUEUE)  # type: ignore[arg-type]
        thread = threading.Timer(0.1, publish, args=(tmp_path, "", 1))
        thread.start()
        assert queue.get(timeout=WAIT_SECONDS).payload == "0"
        thread.join()


def test_a_bell_that_rang_before_the_wait_is_heard(tmp_path: Path) -> None:
    """And one that was rung often is heard once; nobody who publishes ever waits for who listens."""
    listening = bells.Bells(tmp_path)
    listening.listen(["downloads", "compute"])
    for _ in range(70_000):  # more than a pipe holds
        bells.ring(tmp_path, "compute")
    began = time.monotonic()
    listening.wait(WAIT_SECONDS)
    assert time.monotonic() - began < WAIT_SECONDS
    listening.wait(0)
    (ready, _, _) = select.select([bell for bell in listening._held.values() if bell is not None], [], [], 0)
    assert not ready
    listening.close()
    bells.ring(tmp_path, "compute")  # nobody listens any more
