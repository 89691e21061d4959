"""Looking at a model's files takes long where there are many, or a disk is slow; nobody waits to write meanwhile."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.core.database import Database
from modelyard.hub.names import RemoteFile
from modelyard.hub.server import create_hub_app
from modelyard.hub.store import HubCache, Inventory
from modelyard.models import JobControl, JobKind, Model, ModelStatus
from modelyard.schemas.model import ModelDownloadRequest
from modelyard.schemas.system import SettingsUpdate
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.job_service import JobProgress, JobService, LeaseLost
from modelyard.services.maintenance import check_files
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService
from modelyard.workers.websocket_emitter import emit_model_download_cancelled
from support.folder_hub import FolderSource, make_llama

WRITE_SECONDS = 5.0
"""Less than a writer waits for SQLite's lock, much more than one write takes."""


class Quiet:
    def report(self, progress: JobProgress) -> None:
        pass

    def control(self) -> JobControl:
        return JobControl.RUN


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Iterator[HubFaults]:
    folder = make_llama(tmp_path / "model", weight_bytes=100_000)
    faults = HubFaults(create_hub_app([FolderSource(lab__many=folder)], api_key=None))
    with serve(faults) as endpoint:
        with database.session() as session:
            SettingsService(session).update(SettingsUpdate(endpoint=endpoint))
        yield faults


@pytest.fixture
def walks(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each walk over files: whether another thread could write while it lasted."""
    could_write: list[bool] = []
    real: Callable[..., Inventory] = HubCache.inventory

    def write() -> None:
        with database.session() as session:
            SettingsService(session).remember_server_url(f"http://127.0.0.1:{len(could_write) + 1}")

    def inventory(self: HubCache, repo_id: str, commit: str, files: Sequence[RemoteFile]) -> Any:
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(WRITE_SECONDS)
        could_write.append(not writer.is_alive())
        return real(self, repo_id, commit, files)

    monkeypatch.setattr(HubCache, "inventory", inventory)
    return could_write


def test_a_download_and_the_check_of_files(database: Database, hub: HubFaults, walks: list[bool]) -> None:
    service = HuggingFaceModelService(database)
    row_id = service.start_download(ModelDownloadRequest(model_id="lab/many"))
    with database.reading() as session:
        row = ModelService(session).get_by_id(row_id)
    service.download_model(row, Quiet())
    assert len(walks) >= 3
    assert all(walks)

    with database.session() as session:
        session.get_one(Model, row_id).status = ModelStatus.READY
    for path in service.cache.snapshot_path("lab/many", row.commit).glob("*.safetensors"):
        path.unlink()
    walks.clear()
    check_files(database, set())
    with database.reading() as session:
        assert session.get_one(Model, row_id).status is ModelStatus.MISSING
    assert walks == [True]


def test_a_cancelled_download(database: Database, hub: HubFaults, monkeypatch: pytest.MonkeyPatch) -> None:
    service = HuggingFaceModelService(database)
    row_id = service.start_download(ModelDownloadRequest(model_id="lab/many"))
    with database.session() as session:
        row = ModelService(session).get_by_id(row_id)
        job = JobService(session).claim(row.job_id or "", "host:downloads")
        assert job is not None
    service.download_model(row, Quiet())
    could_write: list[bool] = []
    real = HubCache._remove_blob

    def write() -> None:
        with database.session() as session:
            SettingsService(session).remember_server_url("http://127.0.0.1:1")

    def remove_blob(self: HubCache, blob: Path) -> int:
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(WRITE_SECONDS)
        could_write.append(not writer.is_alive())
        return real(self, blob)

    monkeypatch.setattr(HubCache, "_remove_blob", remove_blob)
    with pytest.raises(LeaseLost):
        emit_model_download_cancelled(database, job.id, "somebody else", row_id, JobKind.DOWNLOAD)
    assert could_write == [], "only the owner of the job removes anything"
    emit_model_download_cancelled(database, job.id, job.owner or "", row_id, JobKind.DOWNLOAD)
    assert could_write
    assert all(could_write)
    with database.reading() as session:
        assert session.get_one(Model, row_id).status is ModelStatus.CANCELLED
    assert not list(service.cache.snapshot_path("lab/many", row.commit).glob("*.safetensors"))
