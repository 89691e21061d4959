"""Quantizing a row: what its maker is told to expect, and what becomes of the original."""

from collections.abc import Callable
from typing import Any

import pytest

from modelyard.core import process
from modelyard.core.database import Database
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Job, JobControl, JobKind, JobState, Model, ModelStatus
from modelyard.services import quantization_service
from modelyard.services.inspection.memory_service import MemoryService
from modelyard.services.inspection.weight_memory import ExactFigures
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.kinds import LOADING_PHASE
from modelyard.services.model_actions import finish_removal
from modelyard.services.model_files import FilesOnDisk, next_work
from modelyard.services.model_service import ModelService
from modelyard.services.quantization_service import QuantizationService

from .cache import COMMIT, MODEL_ID, new_row, ready_row

EXACT, APPROXIMATE = 17_200_000, 52_100_000


class Reporter:
    def report(self, progress: JobProgress) -> None:
        """Nobody watches."""

    def control(self) -> JobControl:
        return JobControl.RUN


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, cache: HubCache) -> list[dict[str, Any]]:
    """What the child processes were asked to make; nothing is made."""
    asked: list[dict[str, Any]] = []

    def run_child(_module: str, request: dict[str, Any], **_options: Any) -> dict[str, Any]:
        asked.append(request)
        return {"drift": None, "memory_measured_bytes": EXACT}

    monkeypatch.setattr(process, "run_child", run_child)
    monkeypatch.setattr(quantization_service, "hub_cache", lambda: cache)
    monkeypatch.setattr(quantization_service, "local_checkpoint", lambda _row: None)
    return asked


@pytest.mark.parametrize(
    ("stored", "told", "expected", "method"),
    [
        ((EXACT, "exact"), None, EXACT, "exact"),
        ((APPROXIMATE, "approximate"), {"4bit": EXACT}, EXACT, "exact"),
        ((APPROXIMATE, "approximate"), {}, None, "approximate"),
        ((APPROXIMATE, "approximate"), None, None, "approximate"),
    ],
)
def test_only_an_exact_estimate_decides_whether_there_is_room(
    database: Database,
    cache: HubCache,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    stored: tuple[int, str],
    told: dict[str, int] | None,
    expected: int | None,
    method: str,
) -> None:
    figures = None if told is None else ExactFigures(told, num_parameters=7)
    monkeypatch.setattr(MemoryService, "exact", lambda *_arguments, **_options: figures)
    with database.session() as session:
        row = ready_row(session, cache, quantization="4bit")
        row.memory_estimated_bytes, row.memory_method = stored
    QuantizationService(database).quantize(row, Reporter())
    assert [request["expected_bytes"] for request in requests] == [expected]
    with database.reading() as session:
        after = session.get_one(Model, row.id)
        assert (after.memory_estimated_bytes, after.memory_method) == (expected or APPROXIMATE, method)


def _queued_load(models: ModelService, row: Model) -> None:
    models.jobs.enqueue(JobKind.LOAD, row.id)


def _running_load(models: ModelService, row: Model) -> None:
    assert models.jobs.claim(models.jobs.enqueue(JobKind.LOAD, row.id).id, "w") is not None


def _generation_that_loads(models: ModelService, row: Model) -> None:
    job = models.jobs.claim(models.jobs.enqueue(JobKind.GENERATE, row.id).id, "w")
    assert job is not None
    models.jobs.heartbeat(job.id, job.owner or "", JobProgress(LOADING_PHASE))


@pytest.mark.parametrize("begin", [None, _queued_load, _running_load, _generation_that_loads])
def test_the_original_is_not_dropped_under_a_load_of_it(
    database: Database, cache: HubCache, begin: Callable[[ModelService, Model], None] | None
) -> None:
    with database.session() as session:
        models = ModelService(session, cache)
        original = ready_row(session, cache)
        copy = new_row(session, cache, quantization="4bit", keep_original=False)
        if begin is not None:
            begin(models, original)
        models.mark_done(copy, JobKind.QUANTIZE, FilesOnDisk(whole=True, artifact_bytes=500, disk_bytes=1502))
        assert copy.disk_bytes == (500 if begin is None else 1502), "what goes at once is not counted"
    assert cache.snapshot_path(MODEL_ID, COMMIT).exists(), "files are removed after the transaction"
    finish_removal(database, copy.id)
    is_kept = begin is not None
    assert cache.snapshot_path(MODEL_ID, COMMIT).exists() is is_kept
    with database.reading() as session:
        assert (session.get(Model, original.id) is not None) is is_kept
        left = session.get_one(Model, copy.id)
        assert (left.status, left.removal_due) == (ModelStatus.READY, False)
        assert left.disk_bytes == (1502 if is_kept else 0), "there is no copy in this test"


def test_a_cancelled_quantization_begins_with_the_copy_where_the_files_are_here(
    models: ModelService, cache: HubCache
) -> None:
    original = ready_row(models.session, cache)
    copy = new_row(models.session, cache, quantization="4bit")
    copy.files = original.files
    models.mark_ended(copy, ModelStatus.CANCELLED)
    models.resume(copy.id, next_work(cache, copy))
    job = models.session.get_one(Job, copy.job_id)
    assert (job.kind, job.state, copy.status) == (JobKind.QUANTIZE, JobState.QUEUED, ModelStatus.QUANTIZING)

    models.mark_ended(copy, ModelStatus.CANCELLED)
    (cache.snapshot_path(MODEL_ID, COMMIT) / "model.safetensors").unlink()
    models.resume(copy.id, next_work(cache, copy))
    assert models.session.get_one(Job, copy.job_id).kind is JobKind.DOWNLOAD
