"""Which connection gets which work."""

import pytest

from modelyard.hub.download.scheduler import Content, Scheduler, State, Task
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
