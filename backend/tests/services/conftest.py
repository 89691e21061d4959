"""A clock that tests move, and the wake-ups that would have been sent."""

from datetime import UTC, datetime, timedelta

import pytest

from modelyard.core import queue
from modelyard.services import job_service


class Clock:
    """Stands in for `utc_now` where jobs and leases look at the time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(job_service, "utc_now", clock)
    return clock


@pytest.fixture(autouse=True)
def wakeups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(queue, task, job id) of every wake-up, in order; none reaches a broker."""
    sent: list[tuple[str, str, str]] = []

    def send(queue: str, task_name: str, job_id: str) -> bool:
        sent.append((queue, task_name, job_id))
        return True

    monkeypatch.setattr(queue, "send_wakeup", send)
    return sent
