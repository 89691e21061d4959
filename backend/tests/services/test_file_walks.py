"""Looking at a model's files takes long where there are many, or a disk is slow; nobody waits to write meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from hub.hub_faults import HubFaults, serve
from modelyard.api.v1.endpoints import models, trainings
from modelyard.core.database import Database
from modelyard.core.errors import DiskFull, NoWeights
from modelyard.core.settings import get_settings
from modelyard.hub.cache import deletion
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.server.app import create_hub_app
from modelyard.models import JobControl, JobKind, Model, ModelStatus, Training, TrainingStatus
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.system import SettingsUpdate
from modelyard.services import (
    architecture_service,
    deletion_plan,
    model_files,
    model_response,
    quantization_service,
    storage_service,
)
from modelyard.services.event_hub import EventHub
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService, LeaseLost
from modelyard.services.maintenance import check_files, find_changed_files
from modelyard.services.model_service import ModelService
from modelyard.services.quantization_service import QuantizationService
from modelyard.services.settings_service import SettingsService
from modelyard.services.training import actions
from modelyard.workers.websocket_emitter import (
    emit_model_download_cancelled,
    emit_model_download_completed,
    emit_model_download_failed,
    emit_model_download_paused,
)
from support.folder_hub import FolderSource, make_llama

from .cache import begun_row, bytes_below, new_row, part, ready_row, store

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


class Walks:
    """Holds up every walk over files until another thread has written, to the rows that are walked as well."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.names: list[str] = []
        self.held_up_writers: list[str] = []
        self.in_transactions: list[str] = []
        self._is_watching = False
        self._within = threading.local()

    def watch(self) -> None:
        """From now on; what a test prepares may do as it likes."""
        self._is_watching = True

    def hold(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def held(*arguments: Any, **options: Any) -> Any:
            with self._walk(name):
                return real(*arguments, **options)

        monkeypatch.setattr(owner, name, held)

    @contextmanager
    def _walk(self, name: str) -> Iterator[None]:
        outermost = self._is_watching and not getattr(self._within, "name", None)
        if outermost:
            self._within.name = name
            if self.database.engine.pool.checkedout():  # type: ignore[attr-defined]
                self.in_transactions.append(name)
            writer = threading.Thread(target=self._write, daemon=True)
            writer.start()
            writer.join(WRITE_SECONDS)
            self.names.append(name)
            if writer.is_alive():
                self.held_up_writers.append(name)
        try:
            yield
        finally:
            if outermost:
                self._within.name = None

    def _write(self) -> None:
        with self.database.session() as session:
            SettingsService(session).remember_server_url(f"http://127.0.0.1:{len(self.names) + 1}")
            session.execute(text("UPDATE models SET gated = gated"))
            session.execute(text("UPDATE jobs SET attempts = attempts"))

    def seen(self) -> set[str]:
        """The walks since the last call; none of them held up the other writer."""
        assert self.held_up_writers == []
        names, self.names = self.names, []
        return set(names)


@pytest.fixture
def walks(database: Database, monkeypatch: pytest.MonkeyPatch) -> Walks:
    walks = Walks(database)
    for name in (
        "inventory", "partials", "snapshot_bytes", "plan_deletion", "require_removable",
        "remove_partials", "remove_files", "execute_deletion",
    ):  # fmt: skip
        walks.hold(monkeypatch, HubCache, name)
    walks.hold(monkeypatch, deletion, "remove_blob")
    for module in (model_files, deletion_plan):
        walks.hold(monkeypatch, module, "artifact_files")
    walks.hold(monkeypatch, model_response, "find_chat_template")
    walks.hold(monkeypatch, storage_service, "is_usable")
    for module in (model_files, actions):
        walks.hold(monkeypatch, module, "remove_folder")
    return walks


@pytest.fixture
def client(database: Database) -> TestClient:
    """The API alone, without what else its process does."""
    app = FastAPI()
    app.include_router(models.router)
    app.include_router(trainings.router)
    app.state.database = database
    return TestClient(app)


def begun(database: Database, cache: HubCache, status: ModelStatus, **fields: Any) -> str:
    """A row of which a part was fetched, and whose download waits or ended with `status`."""
    with database.session() as session:
        row = begun_row(session, cache, status, **fields)
    store(cache)
    part(cache)
    return row.id


def test_a_download_and_the_check_of_files(database: Database, hub: HubFaults, walks: Walks) -> None:
    walks.watch()
    service = HuggingFaceModelService(database)
    row_id = service.start_download(ModelDownloadRequest(model_id="lab/many"))
    with database.reading() as session:
        row = ModelService(session).get_by_id(row_id)
    service.download_model(row, Quiet())
    assert walks.seen() >= {"inventory", "partials"}

    with database.session() as session:
        session.get_one(Model, row_id).status = ModelStatus.READY
    for path in service.cache.snapshot_path("lab/many", row.commit).glob("*.safetensors"):
        path.unlink()
    walks.seen()
    check_files(database, set())
    with database.reading() as session:
        assert session.get_one(Model, row_id).status is ModelStatus.MISSING
    assert (walks.seen(), walks.in_transactions) == ({"inventory"}, [])


def test_a_download_that_its_worker_cancels(database: Database, cache: HubCache, walks: Walks) -> None:
    row_id = begun(database, cache, ModelStatus.PENDING)
    with database.session() as session:
        job = JobService(session).claim(ModelService(session).get_by_id(row_id).job_id or "", "host:downloads")
    assert job is not None
    walks.watch()
    with pytest.raises(LeaseLost):
        emit_model_download_cancelled(database, job.id, "somebody else", row_id, JobKind.DOWNLOAD)
    assert walks.seen() == set(), "only the owner of the job removes anything"
    emit_model_download_cancelled(database, job.id, job.owner or "", row_id, JobKind.DOWNLOAD)
    assert walks.seen() >= {"remove_partials", "remove_files", "snapshot_bytes"}
    with database.reading() as session:
        assert session.get_one(Model, row_id).status is ModelStatus.CANCELLED
    assert bytes_below(cache.cache_dir) == 0


@pytest.mark.parametrize("end", ["completed", "failed", "paused", "verified", "check cancelled"])
def test_work_that_ends(database: Database, cache: HubCache, walks: Walks, end: str) -> None:
    row_id = begun(database, cache, ModelStatus.PENDING)
    with database.session() as session:
        job = JobService(session).claim(ModelService(session).get_by_id(row_id).job_id or "", "host:downloads")
    assert job is not None
    owner, error = job.owner or "", {"code": "x", "message": "y", "hint": None}
    walks.watch()
    if end == "failed":
        emit_model_download_failed(database, job.id, owner, row_id, error)
    elif end == "paused":
        emit_model_download_paused(database, job.id, owner, row_id, error)
    elif end == "check cancelled":
        emit_model_download_cancelled(database, job.id, owner, row_id, JobKind.VERIFY)
    else:
        kind = JobKind.DOWNLOAD if end == "completed" else JobKind.VERIFY
        emit_model_download_completed(database, job.id, owner, row_id, kind)
    assert walks.seen() >= {"inventory", "snapshot_bytes"}
    with database.reading() as session:
        row = session.get_one(Model, row_id)
    assert row.status.value == (end if end in ("failed", "paused") else "ready")
    assert row.disk_bytes == 1002


def test_the_original_of_a_quantized_copy(database: Database, cache: HubCache, walks: Walks, tmp_path: Path) -> None:
    with database.session() as session:
        original = ready_row(session, cache).id
        copy = new_row(session, cache, quantization="4bit", keep_original=False)
        models = ModelService(session, cache)
        job = JobService(session).claim(models.start_job(copy, JobKind.QUANTIZE).id, "host:compute")
    assert job is not None
    artifact = tmp_path / "copy"
    artifact.mkdir()
    (artifact / "model.safetensors").write_bytes(b"q" * 500)
    (artifact / model_files.ARTIFACT_MANIFEST).write_text('{"files": {"model.safetensors": {"size_bytes": 500}}}')
    with database.session() as session:
        session.get_one(Model, copy.id).artifact_path = str(artifact)
    walks.watch()
    emit_model_download_completed(database, job.id, job.owner or "", copy.id, JobKind.QUANTIZE)
    assert walks.seen() >= {"artifact_files", "snapshot_bytes", "plan_deletion", "execute_deletion"}
    with database.reading() as session:
        row = session.get_one(Model, copy.id)
        assert session.get(Model, original) is None
    assert (row.status, row.disk_bytes) == (ModelStatus.READY, bytes_below(artifact))
    assert bytes_below(cache.cache_dir) == 0


@pytest.mark.parametrize("status", ["pending", "paused", "failed", "missing"])
def test_cancelling_what_no_worker_has(
    database: Database, cache: HubCache, walks: Walks, client: TestClient, status: str
) -> None:
    row_id = begun(database, cache, ModelStatus(status))
    walks.watch()
    answer = client.post(f"/models/{row_id}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["disk_bytes"]) == (202, "cancelled", 0)
    assert walks.seen() >= {"remove_partials", "remove_files", "snapshot_bytes"}
    assert bytes_below(cache.cache_dir) == 0

    store(cache)
    answer = client.post(f"/models/{row_id}/resume")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert walks.seen() == {"inventory"}
    assert client.post(f"/models/{row_id}/pause").json()["status"] == "paused"
    assert walks.seen() == set()


def test_cancelling_a_check_that_waits(database: Database, cache: HubCache, walks: Walks, client: TestClient) -> None:
    with database.session() as session:
        row = ready_row(session, cache)
        ModelService(session, cache).start_job(row, JobKind.VERIFY)
    walks.watch()
    answer = client.post(f"/models/{row.id}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["disk_bytes"]) == (202, "ready", 1002)
    assert walks.seen() >= {"inventory", "snapshot_bytes"}


@pytest.mark.parametrize("status", ["ready", "paused", "failed"])
def test_deleting(database: Database, cache: HubCache, walks: Walks, client: TestClient, status: str) -> None:
    row_id = begun(database, cache, ModelStatus(status))
    walks.watch()
    before = bytes_below(cache.cache_dir)
    plan = client.delete(f"/models/{row_id}", params={"dry_run": True}).json()
    several = client.post("/models/deletion-plan", json={"ids": [row_id]}).json()
    assert plan["freed_bytes"] == several["freed_bytes"] == before
    assert walks.in_transactions == [], "PostgreSQL ends a transaction that is idle for long"
    assert walks.seen() == {"artifact_files", "partials", "plan_deletion"}
    answer = client.delete(f"/models/{row_id}")
    assert (answer.status_code, walks.in_transactions) == (200, [])
    assert walks.seen() >= {"artifact_files", "plan_deletion", "require_removable", "execute_deletion", "remove_files"}
    assert (answer.json()["freed_bytes"], bytes_below(cache.cache_dir)) == (before if status != "paused" else 0, 0)
    assert client.get("/models").json()["total"] == 0


def test_deleting_a_training_run(
    database: Database, cache: HubCache, walks: Walks, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        row = ready_row(session, cache)
        training = Training(
            status=TrainingStatus.FAILED, model_row_id=row.id, model_id=row.model_id, commit=row.commit,
            quantization="none", config={}, hook_point="model.layers.0", d_in=8, d_sae=64, plan={}, tokens_total=10,
        )  # fmt: skip
        session.add(training)
    folder = get_settings().trainings_folder / training.id
    folder.mkdir(parents=True)
    (folder / "log.txt").write_bytes(b"x" * 100)
    walks.hold(monkeypatch, Path, "rglob")
    walks.watch()
    answer = client.delete(f"/trainings/{training.id}")
    assert (answer.status_code, answer.json()) == (200, {"freed_bytes": 100})
    assert (walks.seen(), walks.in_transactions) == ({"rglob", "remove_folder"}, [])
    assert not folder.exists()


def test_what_waits_for_a_disk(database: Database, cache: HubCache, walks: Walks) -> None:
    row_id = begun(database, cache, ModelStatus.PAUSED)
    with database.session() as session:
        session.get_one(Model, row_id).error = DiskFull("Full.", folder=str(cache.cache_dir)).as_dict()
    walks.watch()
    check_files(database, set())
    assert (walks.seen(), walks.in_transactions) == ({"is_usable", "inventory", "partials"}, [])
    with database.reading() as session:
        assert session.get_one(Model, row_id).status is ModelStatus.PENDING


@pytest.mark.parametrize(("status", "walk"), [("ready", "find_chat_template"), ("missing", "inventory")])
def test_what_is_answered_about_a_row(
    database: Database, cache: HubCache, walks: Walks, client: TestClient, status: str, walk: str
) -> None:
    row_id = begun(database, cache, ModelStatus(status))
    walks.watch()
    listed = client.get("/models").json()["items"]
    assert (walks.seen(), walks.in_transactions) == ({walk}, [])
    assert listed == [client.get(f"/models/{row_id}").json()]
    assert listed[0]["restarts_with"] == ("download" if status == "missing" else None)
    assert (walks.seen(), walks.in_transactions) == ({walk}, [])


def test_what_followers_of_the_list_are_told(database: Database, cache: HubCache, walks: Walks) -> None:
    row_id = begun(database, cache, ModelStatus.READY)
    walks.watch()
    (told,) = EventHub(database)._read(is_first=True).changed
    assert (told.id, walks.seen(), walks.in_transactions) == (row_id, {"find_chat_template"}, [])


def test_a_quantization_that_is_asked_for(
    database: Database, cache: HubCache, walks: Walks, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_id = begun(database, cache, ModelStatus.READY)
    for module in (quantization_service, architecture_service):
        monkeypatch.setattr(module, "hub_cache", lambda: cache)
    walks.watch()
    with pytest.raises(NoWeights):  # its weights are none
        QuantizationService(database).start(row_id, "4bit")
    assert (walks.seen(), walks.in_transactions) == ({"inventory"}, [])


def test_the_check_of_files_reads_rows_in_parts(
    database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        ids = {ready_row(session, cache, f"{number:040x}").id for number in range(5)}
    monkeypatch.setattr(model_files.ModelFiles.with_manifests, "__kwdefaults__", {"after": "", "limit": 2})
    assert find_changed_files(database) == {}
    for snapshot in cache.cache_dir.glob("*/snapshots"):
        snapshot.rename(snapshot.with_name("elsewhere"))
    assert set(find_changed_files(database)) == ids
