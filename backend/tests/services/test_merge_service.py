"""What is merged with what, under which name, and what is refused."""

import json
from typing import Any

import pytest

from modelyard.core.database import Database
from modelyard.core.errors import (
    AlreadyExists,
    AlreadyQuantized,
    BaseMissing,
    Conflict,
    DiskFull,
    InvalidRequest,
    ModelyardError,
    NotReady,
)
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Job, JobControl, JobKind, Model, ModelKind, ModelStatus
from modelyard.schemas.model import AdapterFacts
from modelyard.services import architecture_service, merge_service
from modelyard.services.jobs.control import JobProgress
from modelyard.services.merge_service import MergeService, merged_name
from modelyard.services.model_actions import cancel_model, finish_removal, resume_model
from modelyard.services.model_files import next_work, work_folder
from modelyard.services.model_service import ModelService

from .cache import COMMIT, MODEL_ID, OTHER_COMMIT, new_row, ready_row

ADAPTER = "lab/adapter"


class Reporter:
    def report(self, progress: JobProgress) -> None:
        """Nobody watches."""

    def control(self) -> JobControl:
        return JobControl.RUN


@pytest.fixture(autouse=True)
def _one_cache(monkeypatch: pytest.MonkeyPatch, cache: HubCache) -> None:
    for module in (architecture_service, merge_service):
        monkeypatch.setattr(module, "hub_cache", lambda: cache)


def _rows(database: Database, cache: HubCache, *, base: dict[str, Any] | None = None) -> str:
    """Add an adapter and its base; returns the adapter's id."""
    with database.session() as session:
        ready_row(session, cache, **(base or {}))
        adapter = new_row(session, cache, OTHER_COMMIT, model_id=ADAPTER, canonical_id=ADAPTER)
        facts = AdapterFacts(base_model=MODEL_ID, base_revision=None, rank=4, target_modules=["q_proj"])
        adapter.kind, adapter.adapter = ModelKind.ADAPTER, facts.model_dump()
        adapter.status, adapter.files = ModelStatus.READY, []
        return adapter.id


def _row(database: Database, row_id: str) -> Model:
    with database.reading() as session:
        return ModelService(session).get_by_id(row_id)


def _kind(database: Database, row_id: str) -> JobKind:
    with database.reading() as session:
        return session.get_one(Job, ModelService(session).get_by_id(row_id).job_id).kind


def test_a_merge_is_a_new_row_that_names_both(database: Database, cache: HubCache) -> None:
    adapter = _rows(database, cache)
    row = _row(database, merged := MergeService(database).start(adapter))
    assert (row.model_id, row.endpoint, row.status) == (f"{ADAPTER}-merged", "local", ModelStatus.PENDING)
    assert (row.kind, row.quantization.value) == (ModelKind.MODEL, "none")
    assert row.merged_from == {
        "adapter_model": ADAPTER,
        "adapter_commit": OTHER_COMMIT,
        "base_model": MODEL_ID,
        "base_commit": COMMIT,
    }
    assert len(row.commit) == 40
    assert row.commit not in (COMMIT, OTHER_COMMIT)
    assert _kind(database, merged) is JobKind.MERGE
    with pytest.raises(AlreadyExists) as again:
        MergeService(database).start(adapter)
    assert again.value.extra == {"id": merged}


def test_a_cancelled_merge_leaves_nothing_and_begins_anew(database: Database, cache: HubCache) -> None:
    merged = MergeService(database).start(_rows(database, cache))
    folder = work_folder(_row(database, merged))
    (folder / "model").mkdir(parents=True)
    cancel_model(database, merged)
    finish_removal(database, merged)
    assert not folder.exists()
    assert _row(database, merged).status is ModelStatus.CANCELLED
    resume_model(database, merged)
    assert _kind(database, merged) is JobKind.MERGE


def test_a_quantized_copy_of_a_merged_model_is_not_merged_again(database: Database, cache: HubCache) -> None:
    merged = _row(database, MergeService(database).start(_rows(database, cache)))
    with database.session() as session:
        copy = new_row(session, cache, quantization="4bit")
        copy.copy_facts(merged)
        assert copy.merged_from == merged.merged_from
        assert next_work(cache, merged) is JobKind.MERGE
        assert next_work(cache, copy) is not JobKind.MERGE


@pytest.mark.parametrize("gone", ["adapter", "base"])
def test_a_merge_ends_where_what_it_needs_is_gone(database: Database, cache: HubCache, gone: str) -> None:
    adapter = _rows(database, cache)
    merged = MergeService(database).start(adapter)
    with database.session() as session:
        models = ModelService(session)
        lost = models.get_by_id(adapter) if gone == "adapter" else models.get_by_model_id(MODEL_ID)[0]
        lost.status = ModelStatus.MISSING
    with pytest.raises(NotReady if gone == "adapter" else BaseMissing, match="not here any more"):
        MergeService(database).merge(_row(database, merged), Reporter())


def _not_full(database: Database, cache: HubCache, _monkeypatch: pytest.MonkeyPatch) -> str:
    adapter = _rows(database, cache, base={"quantization": "4bit"})
    (cache.snapshot_path(MODEL_ID, COMMIT) / "model.safetensors").unlink()
    return adapter


def _no_base(database: Database, cache: HubCache, _monkeypatch: pytest.MonkeyPatch) -> str:
    adapter = _rows(database, cache)
    with database.session() as session:
        ModelService(session).get_by_model_id(MODEL_ID)[0].status = ModelStatus.MISSING
    return adapter


def _no_adapter(database: Database, cache: HubCache, _monkeypatch: pytest.MonkeyPatch) -> str:
    _rows(database, cache)
    with database.reading() as session:
        return ModelService(session).get_by_model_id(MODEL_ID)[0].id


def _on_its_way(database: Database, cache: HubCache, _monkeypatch: pytest.MonkeyPatch) -> str:
    adapter = _rows(database, cache)
    with database.session() as session:
        ModelService(session).get_by_id(adapter).status = ModelStatus.DOWNLOADING
    return adapter


def _packed(database: Database, cache: HubCache, _monkeypatch: pytest.MonkeyPatch) -> str:
    adapter = _rows(database, cache)
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
    path = cache.snapshot_path(MODEL_ID, COMMIT) / "config.json"
    path.unlink()
    path.write_text(json.dumps(config))
    with database.session() as session:
        base = ModelService(session).get_by_model_id(MODEL_ID)[0]
        size = path.stat().st_size
        base.files = [file | {"size_bytes": size} if file["path"] == path.name else file for file in base.files or ()]
    return adapter


def _no_room(database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(merge_service, "DISK_RESERVE_BYTES", 2**62)
    return _rows(database, cache)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (_not_full, Conflict, "only in 4bit"),
        (_no_base, BaseMissing, MODEL_ID),
        (_no_adapter, InvalidRequest, "not an adapter"),
        (_on_its_way, NotReady, "downloading"),
        (_packed, AlreadyQuantized, "gptq"),
        (_no_room, DiskFull, "left"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    database: Database,
    cache: HubCache,
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
    error: type[ModelyardError],
    message: str,
) -> None:
    adapter = make(database, cache, monkeypatch)
    with pytest.raises(error, match=message):
        MergeService(database).start(adapter)
    with database.reading() as session:
        assert not ModelService(session).get_by_model_id(f"{ADAPTER}-merged")


def test_the_files_of_a_4bit_base_that_are_here_are_merged_into(database: Database, cache: HubCache) -> None:
    row = MergeService(database).start(_rows(database, cache, base={"quantization": "4bit"}))
    assert _row(database, row).quantization.value == "none"


@pytest.mark.parametrize(
    ("adapter", "name"),
    [("lab/a", "lab/a-merged"), ("a", "a-merged"), ("lab/" + "x" * 84 + "-" + "y" * 7, "lab/" + "x" * 84 + "-merged")],
)
def test_a_merged_model_has_a_valid_name(adapter: str, name: str) -> None:
    assert merged_name(adapter) == name
