"""Which connection gets which work."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.download.blocks import BLOCK_BYTES
from modelyard.hub.download.part_file import PartialFile
from modelyard.hub.download.scheduler import CLAIM_BLOCKS, Content, Scheduler, State, Task
from modelyard.hub.download.transport import ResolvedFile
from modelyard.hub.names import RemoteFile
from modelyard.hub.retry import RetryPolicy


@pytest.fixture
def contents() -> list[Content]:
    return [Content(RemoteFile(f"{n}.bin", 1 << 20, f"{n:064x}", None)) for n in range(3)]


def test_connections_that_became_too_many_end_although_there_is_work(contents: list[Content]) -> None:
    scheduler = Scheduler(contents, policy=RetryPolicy(), connections=2)
    assert scheduler.next_task(1) == Task(contents[0], None)

    scheduler.connections = 1

    assert scheduler.next_task(1) is None
    assert scheduler.next_task(0) == Task(contents[1], None)


def test_connections_end_with_the_download(contents: list[Content]) -> None:
    scheduler = Scheduler(contents, policy=RetryPolicy(), connections=1)
    for content in contents:
        content.state = State.DONE

    assert scheduler.next_task(0) is None


def test_connections_end_when_the_download_stops(contents: list[Content]) -> None:
    scheduler = Scheduler(contents, policy=RetryPolicy(), connections=1)

    scheduler.halt()

    assert scheduler.next_task(0) is None


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Content]:
    """A file of 64 blocks that is being fetched."""
    file = RemoteFile("large.bin", 64 * BLOCK_BYTES, "f" * 64, None)
    content = Content(file)
    content.part = PartialFile.open(HubCache(tmp_path), "owner/model", file)
    content.resolved = ResolvedFile("http://hub/large.bin", None, None, file.size_bytes, None)
    content.state = State.ACTIVE
    assert content.part is not None
    yield content
    content.part.discard()


def next_task_at_once(scheduler: Scheduler, number: int, monkeypatch: pytest.MonkeyPatch) -> Task | None:
    """Return the work of a connection, None where it would have to wait for some."""
    monkeypatch.setattr(scheduler.lock, "wait", lambda _: scheduler.stop.set())
    task = scheduler.next_task(number)
    scheduler.stop.clear()
    return task


def claimed_blocks(task: Task | None) -> int:
    assert task is not None
    assert task.claim is not None
    return task.claim.last_block - task.claim.first_block + 1


def test_file_is_not_shared_before_its_rate_is_known(large: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.hub.download.scheduler.MEASURE_SECONDS", 3600)
    scheduler = Scheduler([large], policy=RetryPolicy(), connections=4)

    first = scheduler.next_task(0)

    assert claimed_blocks(first) == 64 // (2 * 4)
    assert next_task_at_once(scheduler, 1, monkeypatch) is None


def test_file_that_one_connection_brings_soon_is_not_shared(large: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler([large], policy=RetryPolicy(), connections=4)
    first = scheduler.next_task(0)
    assert first is not None
    large.fetched_since, large.received = time.monotonic() - 1, 1 << 50

    assert next_task_at_once(scheduler, 1, monkeypatch) is None
    scheduler.end_task(first)
    assert claimed_blocks(scheduler.next_task(0)) == CLAIM_BLOCKS


def test_file_that_takes_one_connection_long_is_shared_to_its_end(large: Content) -> None:
    scheduler = Scheduler([large], policy=RetryPolicy(), connections=4)
    scheduler.next_task(0)
    large.fetched_since, large.received = time.monotonic() - 60, BLOCK_BYTES

    assert claimed_blocks(scheduler.next_task(1)) == (64 - 8) // (2 * 4)
    large.received = 1 << 50
    assert claimed_blocks(scheduler.next_task(2)) == (64 - 8 - 7) // (2 * 4)
