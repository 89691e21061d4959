"""A clock that tests move, the wake-ups that would have been sent, and rows with a cache of their own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.core import queue
from modelyard.core.database import Database
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.services import model_service
from modelyard.services.jobs import job_service
from modelyard.services.model_service import ModelService


class Clock:
    """Stands in for `database_now` where jobs and leases look at the time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(job_service, "database_now", lambda _session: clock())
    return clock


@pytest.fixture(autouse=True)
def wakeups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(queue, task, job id) of every wake-up, in order; none reaches a broker."""
    sent: list[tuple[str, str, str]] = []

    monkeypatch.setattr(queue.outbox, "put", lambda *wakeup: sent.append(wakeup))
    return sent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    cache = HubCache(tmp_path / "hub")
    monkeypatch.setattr(model_service, "hub_cache", lambda: cache)
    return cache


@pytest.fixture
def models(database: Database, cache: HubCache) -> Iterator[ModelService]:
    """Within one transaction that is committed at the end."""
    with database.session() as session:
        yield ModelService(session, cache)
