"""Rows that wait for a disk resume when it is mended, not before, and not all at once where there is room for one."""

import shutil
from pathlib import Path

import pytest

from modelyard.core import storage
from modelyard.core.database import Database
from modelyard.core.errors import DiskFull, ModelyardError, StorageDenied
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import ModelStatus
from modelyard.services import model_service, storage_service
from modelyard.services.model_service import ModelService

from .cache import new_row, resume_waiting


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    cache = HubCache(tmp_path / "hub")
    monkeypatch.setattr(model_service, "hub_cache", lambda: cache)
    return cache


def waiting(database: Database, cache: HubCache, error: ModelyardError, count: int = 1) -> list[str]:
    """Rows that were paused for `error`, the oldest first."""
    ids = []
    with database.session() as session:
        for number in range(count):
            row = new_row(session, cache, commit=f"{number:040}")
            models = ModelService(session, cache)
            job = models.start_download(row)
            models.pause(row.id)
            job.error = row.error = error.as_dict()
            ids.append(row.id)
    return ids


def resume(database: Database) -> int:
    with database.session() as session:
        return resume_waiting(session)


def statuses(database: Database, ids: list[str]) -> list[ModelStatus]:
    with database.reading() as session:
        return [ModelService(session).get_by_id(row_id).status for row_id in ids]


def test_a_folder_that_may_not_be_used_is_waited_for(
    database: Database, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "hub" / "models--owner--name"
    ids = waiting(database, cache, StorageDenied("No.", folder=str(closed)))
    monkeypatch.setattr(storage_service, "is_usable", lambda path: path != closed)
    assert resume(database) == 0
    monkeypatch.setattr(storage_service, "is_usable", storage.is_usable)
    assert resume(database) == 1
    assert statuses(database, ids) == [ModelStatus.PENDING]


def test_room_is_given_to_the_oldest_first(
    database: Database, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = DiskFull("Full.", folder=str(tmp_path / "home"), needed_bytes=600)
    ids = waiting(database, cache, error, count=3)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1300))
    assert resume(database) == 2
    assert statuses(database, ids) == [ModelStatus.PENDING, ModelStatus.PENDING, ModelStatus.PAUSED]


def test_a_disk_of_the_cache_must_also_keep_its_reserve(
    database: Database, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(database, cache, DiskFull("Full.", folder=str(cache.cache_dir / "models--owner--name" / "blobs")))
    usage = shutil.disk_usage(tmp_path)
    for free, resumed in ((DISK_RESERVE_BYTES - 1, 0), (DISK_RESERVE_BYTES, 1)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        assert resume(database) == resumed


def test_what_a_user_paused_stays_paused(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        row = new_row(session, cache)
        models = ModelService(session, cache)
        models.start_download(row)
        models.pause(row.id)
    assert resume(database) == 0
