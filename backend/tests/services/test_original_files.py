"""Removing the files quantized copies were made of: what is told, what comes free, what the rows say afterwards."""

import json
import shutil
from pathlib import Path

import pytest

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, SharedCache
from modelyard.core.settings import get_settings
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Model, ModelStatus
from modelyard.services import model_actions, model_deletion, model_files, model_service
from modelyard.services.model_actions import delete_model, deletion_plan, deletion_plans, finish_removal
from modelyard.services.model_files import look_at_files
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.original_files import drop_original, plan_drop

from .cache import CONTENTS, bytes_below, new_row, ready_row, store

SNAPSHOT_BYTES = sum(len(body) for body in CONTENTS.values())
ARTIFACT_BYTES = 500


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(get_settings(), "home", tmp_path / "home")
    return get_settings().artifacts_folder


def add_copy(database: Database, cache: HubCache, artifacts: Path, quantization: str) -> str:
    folder = artifacts / quantization
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"q" * ARTIFACT_BYTES)
    listed = {"files": {"model.safetensors": {"size_bytes": ARTIFACT_BYTES}}}
    (folder / model_files.ARTIFACT_MANIFEST).write_text(json.dumps(listed))
    with database.session() as session:
        row = ready_row(session, cache, quantization=quantization)
        row.artifact_path = quantization
        ModelService(session, cache).files.note(row, look_at_files(cache, row))
        return row.id


def test_a_set_can_take_the_originals_of_copies_that_stay_along(
    database: Database, cache: HubCache, artifacts: Path
) -> None:
    with database.session() as session:
        original = ready_row(session, cache).id
    gone, stays = (add_copy(database, cache, artifacts, name) for name in ("4bit", "8bit"))
    copy = deletion_plan(database, gone).freed_bytes
    both = deletion_plans(database, [original, gone])
    assert (both.freed_bytes, both.original_bytes) == (copy, SNAPSHOT_BYTES)
    everything = deletion_plans(database, [original, gone, stays])
    assert (everything.freed_bytes, everything.original_bytes) == (2 * copy + SNAPSHOT_BYTES, 0)
    for order in ([original, gone], [gone, original]):
        told = deletion_plans(database, order, with_original=True)
        assert (told.freed_bytes, told.original_bytes) == (copy + SNAPSHOT_BYTES, 0)
        assert [item.kept_because for item in told.items] == [[], []]
    reports = [delete_model(database, row_id, with_original=True).freed_bytes for row_id in order]
    assert reports == [item.freed_bytes for item in told.items]
    assert bytes_below(cache.cache_dir) == 0
    with database.reading() as session:
        assert ModelResponses(session).of_id(stays).response().status == "ready"


def test_a_row_whose_work_ends_while_it_is_being_deleted_is_deleted(
    database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        row = ready_row(session, cache)
        row.status, row_id = ModelStatus.DOWNLOADING, row.id
    cancel = model_actions.cancel_model

    def just_too_late(database: Database, row_id: str) -> None:
        with database.session() as session:
            ModelService(session).get_by_id(row_id).status = ModelStatus.READY
        cancel(database, row_id)

    monkeypatch.setattr(model_actions, "cancel_model", just_too_late)
    assert delete_model(database, row_id).freed_bytes == SNAPSHOT_BYTES
    assert bytes_below(cache.cache_dir) == 0


def test_deleting_the_original_can_take_its_files_along(database: Database, cache: HubCache, artifacts: Path) -> None:
    with database.session() as session:
        original = ready_row(session, cache).id
    copies = [add_copy(database, cache, artifacts, name) for name in ("4bit", "8bit")]
    alone = deletion_plan(database, original)
    assert (alone.freed_bytes, alone.kept_bytes, alone.original_bytes) == (0, SNAPSHOT_BYTES, SNAPSHOT_BYTES)
    assert "runs without it" in alone.kept_because[0].reason
    told = deletion_plan(database, original, with_original=True)
    assert (told.freed_bytes, told.kept_because) == (SNAPSHOT_BYTES, [])
    assert delete_model(database, original, with_original=True) == told
    assert bytes_below(cache.cache_dir) == 0
    with database.reading() as session:
        assert session.get(Model, original) is None
        rows = [ModelResponses(session).of_id(row_id).response() for row_id in copies]
        assert not any(row.removal_due for row in session.query(Model))
    own = bytes_below(artifacts / "4bit")
    assert [(row.status, row.disk_bytes, row.shared_bytes, row.original_bytes) for row in rows] == [
        ("ready", own, 0, 0)
    ] * 2


@pytest.mark.parametrize("original_first", [True, False], ids=["its row is gone", "its row is here"])
def test_the_original_is_dropped_later(
    database: Database, cache: HubCache, artifacts: Path, original_first: bool
) -> None:
    with database.session() as session:
        original = ready_row(session, cache).id
    copies = [add_copy(database, cache, artifacts, name) for name in ("4bit", "8bit")]
    if original_first:
        assert delete_model(database, original).freed_bytes == 0
    told = plan_drop(database, copies[0])
    assert (told.freed_bytes, told.kept_bytes) == (SNAPSHOT_BYTES, 0)
    assert drop_original(database, copies[0]) == told
    assert bytes_below(cache.cache_dir) == 0
    with database.reading() as session:
        assert session.get(Model, original) is None
        assert all(session.get_one(Model, row_id).status is ModelStatus.READY for row_id in copies)
    assert plan_drop(database, copies[1]).freed_bytes == 0


def test_what_still_needs_the_files_keeps_them(database: Database, cache: HubCache, artifacts: Path) -> None:
    with database.session() as session:
        original = ready_row(session, cache).id
    copy = add_copy(database, cache, artifacts, "4bit")
    with database.session() as session:
        new_row(session, cache, quantization="8bit").status = ModelStatus.QUANTIZING
    with pytest.raises(Conflict):
        drop_original(database, copy)
    with pytest.raises(Conflict):
        drop_original(database, original)
    told = deletion_plan(database, original, with_original=True)
    assert (told.freed_bytes, told.kept_bytes, told.original_bytes) == (0, SNAPSHOT_BYTES, 0)
    shutil.rmtree(artifacts / "4bit")
    assert bytes_below(cache.cache_dir) == SNAPSHOT_BYTES


def test_a_crash_before_the_files_went_is_made_up_for(
    database: Database, cache: HubCache, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        original = ready_row(session, cache).id
    copies = [add_copy(database, cache, artifacts, name) for name in ("4bit", "8bit")]
    monkeypatch.setattr(model_actions, "finish_removal", lambda _database, _row_id: None)
    delete_model(database, original, with_original=True)
    monkeypatch.undo()
    monkeypatch.setattr(get_settings(), "home", artifacts.parent)
    monkeypatch.setattr(model_service, "hub_cache", lambda: cache)
    monkeypatch.setattr(model_deletion, "HALF_REMOVED_SECONDS", -1.0)
    assert bytes_below(cache.cache_dir) == SNAPSHOT_BYTES
    with database.reading() as session:
        due = ModelService(session).deletion.half_removed()
    assert {original, *copies} == set(due)
    for row_id in due:
        finish_removal(database, row_id)
    assert bytes_below(cache.cache_dir) == 0
    with database.reading() as session:
        assert {row.id for row in session.query(Model)} == set(copies)


def test_files_of_others_are_dropped_only_when_confirmed(database: Database, cache: HubCache, artifacts: Path) -> None:
    store(cache)
    copy = add_copy(database, cache, artifacts, "4bit")
    with database.session() as session:
        session.get_one(Model, copy).adopted = True
    with pytest.raises(SharedCache):
        drop_original(database, copy)
    assert bytes_below(cache.cache_dir) == SNAPSHOT_BYTES
    assert drop_original(database, copy, confirm_shared=True).freed_bytes == SNAPSHOT_BYTES
