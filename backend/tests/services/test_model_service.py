"""Rows: made once, found, steered, and deleted with exactly the files nobody else needs."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import AlreadyExists, Conflict, ModelNotFound, NotReady, SharedCache
from modelyard.hub.cache.hashing import identity
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Job, JobControl, JobKind, JobState, LoadedModel, Model, ModelStatus, Quantization
from modelyard.services import maintenance, model_actions, model_deletion
from modelyard.services.deletion_plan import RowPlan, confirmed_plan
from modelyard.services.imported_files import require_unchanged
from modelyard.services.inspection.memory_service import ExactFigures, MemoryService
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_actions import (
    cancel_model,
    delete_model,
    deletion_plan,
    deletion_plans,
    finish_removal,
    installed_files,
)
from modelyard.services.model_files import bytes_to_fetch, look_at_files, manifest, next_work
from modelyard.services.model_service import SORTS, ModelService
from modelyard.services.model_usage import loaded_by

from .cache import (
    COMMIT,
    CONTENTS,
    MODEL_ID,
    OTHER_COMMIT,
    begun_row,
    bytes_below,
    differing,
    new_row,
    note_manifest,
    part,
    ready_row,
    remote_files,
    store,
)

SNAPSHOT_BYTES = sum(len(body) for body in CONTENTS.values())


def row_of(database: Database, row_id: str) -> Model:
    with database.reading() as session:
        return session.get_one(Model, row_id)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cpu", "loaded in the system memory of yard"),
        ("cuda:0", "loaded on cuda:0 of yard"),
        ("auto", "loaded on the accelerators of yard"),
        ("auto+cpu", "loaded on the accelerators and in the system memory of yard"),
    ],
)
def test_where_a_model_is_loaded(device: str, words: str) -> None:
    assert loaded_by(LoadedModel(worker="w", device=device, host="yard")).name == words
    other = loaded_by(LoadedModel(worker="w", device=device, host="yard", dtype="float32", measured_bytes=7))
    assert other.name == words.replace("loaded ", "loaded in float32 ")
    assert (other.dtype, other.measured_bytes) == ("float32", 7)


# Making rows


def test_a_new_row(models: ModelService, cache: HubCache) -> None:
    row = new_row(models.session, cache, quantization="4bit")
    assert (row.status, row.quantization, row.name) == (ModelStatus.PENDING, Quantization.FOUR_BIT, "name")
    assert models.get_by_id(row.id) is row
    with pytest.raises(ModelNotFound):
        models.get_by_id("nothing")


def test_other_commits_and_precisions_are_other_rows(models: ModelService, cache: HubCache) -> None:
    rows = [
        new_row(models.session, cache),
        new_row(models.session, cache, quantization="8bit"),
        new_row(models.session, cache, OTHER_COMMIT),
        new_row(models.session, cache, model_id="gpt2", canonical_id="openai-community/gpt2"),
    ]
    assert len({row.id for row in rows}) == 4
    assert [row.id for row in models.get_by_model_id("openai-community/gpt2")] == [rows[3].id]
    assert len(models.get_by_model_id(MODEL_ID)) == 3
    assert models.get_by_model_id("none") == []


@pytest.mark.parametrize("status", ["pending", "downloading", "paused", "quantizing", "ready", "deleting"])
def test_the_same_again_is_refused_with_the_id(models: ModelService, cache: HubCache, status: str) -> None:
    row = new_row(models.session, cache)
    row.status = ModelStatus(status)
    models.session.flush()
    with pytest.raises(AlreadyExists) as caught:
        new_row(models.session, cache)
    assert caught.value.extra["id"] == row.id


@pytest.mark.parametrize("status", ["failed", "cancelled", "missing"])
def test_what_ended_badly_is_taken_up_again(models: ModelService, cache: HubCache, status: str) -> None:
    row = new_row(models.session, cache)
    models.mark_ended(row, ModelStatus(status), {"code": "x", "message": "y", "hint": None})
    again = new_row(models.session, cache, revision="v2", endpoint="https://other", allow_pickle=True, gated=True)
    assert again.id == row.id
    assert (again.revision, again.endpoint, again.allow_pickle, again.gated) == ("v2", "https://other", True, True)
    job = models.start_download(again)
    assert (again.status, again.error, again.job_id) == (ModelStatus.PENDING, None, job.id)


def test_two_who_ask_at_once_make_one_row(database: Database, cache: HubCache) -> None:
    results: list[Any] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        try:
            with database.session() as session:
                results.append(new_row(session, cache).id)
        except AlreadyExists as error:
            results.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (made,) = [result for result in results if isinstance(result, str)]
    refused = [result for result in results if isinstance(result, AlreadyExists)]
    assert [error.extra["id"] for error in refused] == [made] * 3


# Finding rows


@pytest.fixture
def many(models: ModelService, cache: HubCache) -> ModelService:
    sizes = {"a/Zebra": 30, "b/apple": None, "c/100%_pure": 10, "d/100x-pure": 20, "e/snake_case": None}
    for number, (model_id, size) in enumerate(sizes.items()):
        row = new_row(
            models.session,
            cache,
            model_id=model_id,
            canonical_id=model_id,
            quantization=["none", "8bit", "4bit"][number % 3],
        )
        row.size_bytes = row.num_parameters = size
        row.status = ModelStatus.READY if number % 2 else ModelStatus.FAILED
        row.architecture = "LlamaForCausalLM" if number == 0 else None
    models.session.flush()
    return models


def found(models: ModelService, **conditions: Any) -> list[str]:
    rows, total = models.list(**conditions)
    assert total >= len(rows)
    return [row.model_id for row in rows]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("zebra", ["a/Zebra"]),
        ("LLAMA", ["a/Zebra"]),
        ("100%", ["c/100%_pure"]),
        ("_", ["c/100%_pure", "e/snake_case"]),
        ("%", ["c/100%_pure"]),
        ("0x", ["d/100x-pure"]),
        ("/", ["a/Zebra", "b/apple", "c/100%_pure", "d/100x-pure", "e/snake_case"]),
        ("\\", []),
        ("'; DROP TABLE models; --", []),
    ],
)
def test_query_takes_every_character_as_it_is(many: ModelService, query: str, names: list[str]) -> None:
    assert found(many, query=query, sort="name") == sorted(names, key=lambda name: name.lower())


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", ["a/Zebra", "b/apple", "c/100%_pure", "d/100x-pure", "e/snake_case"]),
        ("-name", ["e/snake_case", "d/100x-pure", "c/100%_pure", "b/apple", "a/Zebra"]),
        ("created_at", ["a/Zebra", "b/apple", "c/100%_pure", "d/100x-pure", "e/snake_case"]),
        ("-created_at", ["e/snake_case", "d/100x-pure", "c/100%_pure", "b/apple", "a/Zebra"]),
    ],
)
def test_sort(many: ModelService, sort: str, names: list[str]) -> None:
    assert found(many, sort=sort) == names


@pytest.mark.parametrize("field", ["size_bytes", "num_parameters"])
def test_unknown_sizes_come_last_either_way(many: ModelService, field: str) -> None:
    rising, falling = found(many, sort=field), found(many, sort=f"-{field}")
    assert rising[:3] == ["c/100%_pure", "d/100x-pure", "a/Zebra"]
    assert falling[:3] == rising[2::-1]
    assert set(rising[3:]) == set(falling[3:]) == {"b/apple", "e/snake_case"}


@pytest.mark.parametrize("sort", SORTS)
def test_pages_hold_every_row_once(many: ModelService, sort: str) -> None:
    pages = [found(many, sort=sort, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert len({name for page in pages for name in page}) == 5
    assert many.list(limit=2, offset=100)[1] == 5


def test_filters(many: ModelService) -> None:
    assert found(many, statuses=[ModelStatus.READY], sort="name") == ["b/apple", "d/100x-pure"]
    assert found(many, quantization=Quantization.FOUR_BIT) == ["c/100%_pure"]
    assert found(many, statuses=[ModelStatus.READY], quantization=Quantization.FOUR_BIT) == []
    assert len(found(many, statuses=[ModelStatus.READY, ModelStatus.FAILED])) == 5
    assert many.counts() == {"ready": 2, "failed": 3}


# Steering


def downloading(models: ModelService, cache: HubCache, **fields: Any) -> tuple[Model, Job, str]:
    """A row with a worker on it."""
    row = new_row(models.session, cache, **fields)
    job = models.start_download(row)
    claimed = JobService(models.session).claim(job.id, "w")
    assert claimed is not None
    assert claimed.owner is not None
    models.mark_downloading(row)
    return row, job, claimed.owner


def test_a_waiting_download_is_paused_and_resumed(models: ModelService, cache: HubCache) -> None:
    row = new_row(models.session, cache)
    models.start_download(row)
    assert models.pause(row.id).status is ModelStatus.PAUSED
    assert models.pause(row.id).status is ModelStatus.PAUSED
    assert models.resume(row.id).status is ModelStatus.PENDING
    with pytest.raises(Conflict):
        models.resume(row.id)


def test_a_running_download_changes_when_its_worker_says_so(models: ModelService, cache: HubCache) -> None:
    row, job, owner = downloading(models, cache)
    assert models.pause(row.id).status is ModelStatus.DOWNLOADING
    assert JobService(models.session).heartbeat(job.id, owner, None) is JobControl.PAUSE
    assert models.resume(row.id).status is ModelStatus.DOWNLOADING
    assert JobService(models.session).heartbeat(job.id, owner, None) is JobControl.RUN
    assert models.cancel(row.id).status is ModelStatus.DOWNLOADING
    assert JobService(models.session).heartbeat(job.id, owner, None) is JobControl.CANCEL


@pytest.mark.parametrize("status", ["ready", "missing", "cancelled"])
def test_nothing_to_pause(models: ModelService, cache: HubCache, status: str) -> None:
    row = new_row(models.session, cache)
    row.status = ModelStatus(status)
    models.session.flush()
    with pytest.raises(Conflict, match=status):
        models.pause(row.id)


def test_nothing_to_cancel_or_resume_when_ready(models: ModelService, cache: HubCache) -> None:
    row = ready_row(models.session, cache)
    acts: list[Callable[..., Model]] = [models.cancel, models.resume]
    for act in acts:
        with pytest.raises(Conflict):
            act(row.id)
    for act in (*acts, models.pause):
        with pytest.raises(ModelNotFound):
            act("nothing")


@pytest.mark.parametrize("status", ["cancelled", "missing"])
def test_resume_begins_anew_what_has_no_job_to_go_on_with(models: ModelService, cache: HubCache, status: str) -> None:
    row, job, owner = downloading(models, cache)
    JobService(models.session).finish(job.id, owner, JobState.DONE)
    models.mark_ended(row, ModelStatus(status))
    assert models.resume(row.id, next_work(cache, row)).status is ModelStatus.PENDING
    assert row.job_id != job.id


def test_resume_goes_on_with_a_failed_job(models: ModelService, cache: HubCache) -> None:
    row, job, owner = downloading(models, cache)
    JobService(models.session).finish(job.id, owner, JobState.FAILED, error={"code": "x"})
    models.mark_ended(row, ModelStatus.FAILED, {"code": "x", "message": "y", "hint": "z"})
    models.resume(row.id)
    assert (row.status, row.error, row.job_id) == (ModelStatus.PENDING, None, job.id)


def test_resume_sees_a_pause_that_was_taken_meanwhile(database: Database, cache: HubCache) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writing transaction at a time")
    with database.session() as session:
        models = ModelService(session, cache)
        row, job, owner = downloading(models, cache)
        models.pause(row.id)
    with database.session() as session:
        assert session.get_one(Model, row.id).status is ModelStatus.DOWNLOADING
        with database.session() as worker:
            JobService(worker).finish(job.id, owner, JobState.PAUSED)
            worker.get_one(Model, row.id).status = ModelStatus.PAUSED
        ModelService(session, cache).resume(row.id)
    assert row_of(database, row.id).status is ModelStatus.PENDING


def test_cancel_takes_the_load_of_a_ready_model_back(models: ModelService, cache: HubCache) -> None:
    row = ready_row(models.session, cache)
    load = models.jobs.enqueue(JobKind.LOAD, row.id)
    assert models.cancel(row.id).status is ModelStatus.READY
    assert load.state is JobState.CANCELLED
    with pytest.raises(Conflict, match="nothing to cancel"):
        models.cancel(row.id)


def begun(database: Database, cache: HubCache, status: ModelStatus = ModelStatus.PENDING, **fields: Any) -> Model:
    """A row whose manifest is known and whose download waits, or ended with this status."""
    with database.session() as session:
        return begun_row(session, cache, status, **fields)


@pytest.mark.parametrize("status", ["pending", "paused", "failed", "missing"])
def test_cancel_removes_what_was_fetched_and_no_more(database: Database, cache: HubCache, status: str) -> None:
    before = store(cache, contents={"config.json": b"{}"})
    row = begun(database, cache, ModelStatus(status))
    store(cache)
    unfinished = part(cache)
    cancel_model(database, row.id)
    cancelled = row_of(database, row.id)
    assert (cancelled.status, cancelled.disk_bytes, cancelled.removal_due) == (ModelStatus.CANCELLED, 2, False)
    assert not unfinished.exists()
    assert cache.inventory(MODEL_ID, COMMIT, remote_files()).present == tuple(before)
    cancel_model(database, row.id)
    assert row_of(database, row.id).updated_at == cancelled.updated_at


def test_cancel_leaves_the_files_of_other_rows(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        ready_row(session, cache)
    cancel_model(database, begun(database, cache, quantization="4bit").id)
    assert not cache.inventory(MODEL_ID, COMMIT, remote_files()).missing


@pytest.mark.parametrize("status", [ModelStatus.PAUSED, ModelStatus.FAILED, ModelStatus.DOWNLOADING])
def test_cancel_leaves_unfinished_files_another_download_may_own(
    database: Database, cache: HubCache, status: ModelStatus
) -> None:
    with database.session() as session:
        new_row(session, cache, OTHER_COMMIT).status = status
    unfinished = part(cache)
    cancel_model(database, begun(database, cache).id)
    assert unfinished.exists()


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_cancelled_check_says_what_the_files_are(database: Database, cache: HubCache, is_whole: bool) -> None:
    with database.session() as session:
        row = ready_row(session, cache)
        ModelService(session, cache).start_job(row, JobKind.VERIFY)
        with pytest.raises(Conflict), session.begin_nested():
            ModelService(session, cache).cancel(row.id)
    if not is_whole:
        (cache.snapshot_path(MODEL_ID, COMMIT) / "config.json").unlink()
    cancel_model(database, row.id)
    left = row_of(database, row.id)
    assert left.status is (ModelStatus.READY if is_whole else ModelStatus.MISSING)
    assert left.disk_bytes == (SNAPSHOT_BYTES if is_whole else 1000)
    assert left.removal_due is False


def test_a_removal_that_a_crash_interrupted_is_finished_and_waited_for(
    database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = begun(database, cache)
    store(cache)
    with database.session() as session:
        ModelService(session, cache).cancel(row.id)
    # The process ended here. Nobody begins to use what is still to be removed.
    for quantization in ("none", "4bit"):
        with pytest.raises(Conflict, match="being removed"), database.session() as session:
            new_row(session, cache, quantization=quantization)
    with pytest.raises(Conflict, match="being removed"):
        model_actions.resume_model(database, row.id)
    maintenance.check_files(database, set())
    assert row_of(database, row.id).removal_due, "it may be under way"
    assert not cache.inventory(MODEL_ID, COMMIT, remote_files()).missing

    monkeypatch.setattr(model_deletion, "HALF_REMOVED_SECONDS", -1.0)
    maintenance.check_files(database, set())
    left = row_of(database, row.id)
    assert (left.removal_due, left.disk_bytes, left.status) == (False, 0, ModelStatus.CANCELLED)
    assert bytes_below(cache.cache_dir) == 0
    model_actions.resume_model(database, row.id)
    assert row_of(database, row.id).status is ModelStatus.PENDING
    with database.session() as session:
        new_row(session, cache, quantization="4bit")


@pytest.mark.parametrize("whole", [True, False])
def test_a_row_whose_folder_became_a_link_can_be_used_again(
    database: Database, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Its files are not the cache's any more, so its deletion ends with an error and removes nothing."""
    with database.session() as session:
        row = ready_row(session, cache)
        row.status = ModelStatus.DELETING
    repo, elsewhere = cache.repo_folder(MODEL_ID), tmp_path / "elsewhere"
    repo.rename(elsewhere)
    repo.symlink_to(elsewhere)
    if not whole:
        (elsewhere / "snapshots" / COMMIT / "model.safetensors").unlink()
    before = bytes_below(elsewhere)
    monkeypatch.setattr(model_deletion, "HALF_REMOVED_SECONDS", -1.0)
    maintenance.check_files(database, set())
    left = row_of(database, row.id)
    assert left.status is (ModelStatus.READY if whole else ModelStatus.MISSING)
    assert left.error is not None
    assert left.error["code"] == "conflict"
    assert str(repo) in left.error["message"]
    assert bytes_below(elsewhere) == before
    repo.unlink()
    delete_model(database, row.id, confirm_shared=True)
    assert bytes_below(elsewhere) == before


# Files that come and go


def test_rows_follow_their_files(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id
    maintenance.check_files(database, set())
    assert row_of(database, row_id).status is ModelStatus.READY

    link = cache.snapshot_path(MODEL_ID, COMMIT) / "model.safetensors"
    aside = link.with_name("aside")
    link.rename(aside)
    maintenance.check_files(database, set())
    missing = row_of(database, row_id)
    assert missing.status is ModelStatus.MISSING
    assert missing.error is not None
    assert set(missing.error) == {"code", "message", "hint"}

    aside.rename(link)
    maintenance.check_files(database, set())
    back = row_of(database, row_id)
    assert (back.status, back.error) == (ModelStatus.READY, None)


@pytest.mark.parametrize("harm", ["broken link", "wrong size", "whole cache gone"])
def test_ways_to_lose_files(models: ModelService, cache: HubCache, harm: str) -> None:
    row = ready_row(models.session, cache)
    blob = (cache.snapshot_path(MODEL_ID, COMMIT) / "model.safetensors").resolve()
    if harm == "broken link":
        blob.unlink()
    elif harm == "wrong size":
        blob.write_bytes(b"short")
    else:
        cache.cache_dir.rename(cache.cache_dir.with_name("elsewhere"))
    assert models.files.mark_missing(differing(models)) == 1
    assert row.status is ModelStatus.MISSING
    assert models.files.mark_missing(differing(models)) == 0


def test_only_rows_that_had_their_files_are_looked_at(models: ModelService, cache: HubCache) -> None:
    for number, status in enumerate(ModelStatus):
        row = new_row(models.session, cache, commit=f"{number:040x}")
        row.status = status
        row.files = [] if status is ModelStatus.READY else [{**vars(remote_files()[0]), "present_before": False}]
    models.session.flush()
    assert models.files.mark_missing(differing(models)) == 0


# Deleting


def test_delete_frees_exactly_what_it_says(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id
    before = bytes_below(cache.cache_dir)
    plan = deletion_plan(database, row_id)
    assert (plan.freed_bytes, plan.kept_bytes, plan.kept_because) == (SNAPSHOT_BYTES, 0, [])
    report = delete_model(database, row_id)
    assert report == plan
    assert before - bytes_below(cache.cache_dir) == report.freed_bytes
    assert not cache.repo_folder(MODEL_ID).exists()
    with pytest.raises(ModelNotFound):
        delete_model(database, row_id)


def test_a_plan_touches_nothing(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id
    before = bytes_below(cache.cache_dir)
    deletion_plan(database, row_id)
    assert bytes_below(cache.cache_dir) == before
    assert row_of(database, row_id).status is ModelStatus.READY


def test_two_precisions_share_the_snapshot(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        first, second = ready_row(session, cache).id, ready_row(session, cache, quantization="4bit").id
        assert not session.get_one(Model, second).adopted, "Modelyard fetched the files itself, for the other row"
    report = delete_model(database, first)
    assert (report.freed_bytes, report.kept_bytes) == (0, SNAPSHOT_BYTES)
    assert "4bit" in report.kept_because[0].reason
    assert row_of(database, second).status is ModelStatus.READY
    assert not cache.inventory(MODEL_ID, COMMIT, remote_files()).missing
    assert delete_model(database, second).freed_bytes == SNAPSHOT_BYTES
    assert bytes_below(cache.cache_dir) == 0


@pytest.mark.parametrize("status", [ModelStatus.CANCELLED, ModelStatus.MISSING])
def test_a_row_without_files_keeps_none(database: Database, cache: HubCache, status: ModelStatus) -> None:
    with database.session() as session:
        first = ready_row(session, cache).id
        second = new_row(session, cache, quantization="4bit")
        second.status = status
        second_id = second.id
    assert delete_model(database, first).freed_bytes == SNAPSHOT_BYTES
    assert delete_model(database, second_id).freed_bytes == 0


def test_two_revisions_share_content(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        first, second = ready_row(session, cache).id, ready_row(session, cache, OTHER_COMMIT).id
    cache.write_ref(MODEL_ID, "main", OTHER_COMMIT)
    before = bytes_below(cache.cache_dir)
    report = delete_model(database, first)
    assert (report.freed_bytes, report.kept_bytes) == (1000, 2)
    assert "main" in report.kept_because[0].reason
    assert before - bytes_below(cache.cache_dir) == report.freed_bytes
    with database.session() as session:
        models = ModelService(session, cache)
        assert models.files.mark_missing(differing(models)) == 0
    last = delete_model(database, second)
    assert last.freed_bytes == 3002
    assert not cache.repo_folder(MODEL_ID).exists()


def test_a_download_under_way_keeps_the_content_it_uses(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        first = ready_row(session, cache).id
        models = ModelService(session, cache)
        downloading(models, cache, commit=OTHER_COMMIT)
    store(cache, OTHER_COMMIT, {"config.json": CONTENTS["config.json"]})
    unfinished = part(cache)
    assert delete_model(database, first).freed_bytes == 1000
    assert unfinished.exists()
    assert not cache.inventory(MODEL_ID, OTHER_COMMIT, remote_files({"config.json": b"{}"})).missing


def test_a_set_frees_exactly_what_its_plan_says(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        first, second = ready_row(session, cache).id, ready_row(session, cache, quantization="4bit").id
        other = ready_row(session, cache, OTHER_COMMIT).id
    part(cache)
    before = bytes_below(cache.cache_dir)
    pair = deletion_plans(database, [first, second, "nothing"])
    everything = deletion_plans(database, [first, second, other])
    # What the two precisions share goes with the second, the configuration only with the other revision.
    assert [(item.id, item.freed_bytes, item.stays) for item in pair.items] == [
        (first, 0, False),
        (second, 5096, False),
    ]
    assert [[kept.bytes for kept in item.kept_because] for item in pair.items] == [[2], [2]]
    assert "4bit" not in pair.items[0].kept_because[0].reason
    assert [item.freed_bytes for item in everything.items] == [0, 5096, 3002]
    assert [item.kept_because for item in everything.items] == [[], [], []]
    assert everything.freed_bytes == before
    reports = [delete_model(database, row_id).freed_bytes for row_id in (first, second, other)]
    assert reports == [item.freed_bytes for item in everything.items]
    assert bytes_below(cache.cache_dir) == 0


def test_a_row_of_a_set_that_is_in_use_stays_and_keeps_what_it_needs(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        used, other = ready_row(session, cache).id, ready_row(session, cache, quantization="4bit").id
        session.add(
            LoadedModel(
                model_row_id=used, worker="w", device="cpu", dtype="auto", host="yard", measured_bytes=1,
                load_seconds=1.0, lease_expires_at=utc_now() + timedelta(seconds=30),
            )
        )  # fmt: skip
    plan = deletion_plans(database, [used, other])
    assert [(item.stays, item.freed_bytes) for item in plan.items] == [(True, 0), (False, 0)]
    assert "none" in plan.items[1].kept_because[0].reason
    assert plan.freed_bytes == 0


def test_a_set_with_files_that_were_there_before_needs_a_confirmation_too(database: Database, cache: HubCache) -> None:
    store(cache)
    with database.session() as session:
        row_id = ready_row(session, cache).id
    asked = deletion_plans(database, [row_id])
    assert [(item.stays, item.freed_bytes) for item in asked.items] == [(True, SNAPSHOT_BYTES)]
    assert asked.freed_bytes == 0
    assert deletion_plans(database, [row_id], confirm_shared=True).freed_bytes == SNAPSHOT_BYTES


def test_files_that_were_there_before_need_a_confirmation(database: Database, cache: HubCache) -> None:
    store(cache)
    with database.session() as session:
        row = ready_row(session, cache)
        assert row.adopted
        row_id = row.id
    assert deletion_plan(database, row_id).shared_cache is True
    with pytest.raises(SharedCache) as caught:
        delete_model(database, row_id)
    assert caught.value.extra["freed_bytes"] == SNAPSHOT_BYTES
    assert row_of(database, row_id).status is ModelStatus.READY
    assert bytes_below(cache.cache_dir) == SNAPSHOT_BYTES
    assert delete_model(database, row_id, confirm_shared=True).freed_bytes == SNAPSHOT_BYTES
    assert bytes_below(cache.cache_dir) == 0


def test_deleting_both_precisions_at_once_leaves_nothing(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        rows = [ready_row(session, cache).id, ready_row(session, cache, quantization="4bit").id]
    for row_id in rows:
        with database.reading() as session:
            models = ModelService(session, cache)
            facts = models.deletion.facts(models.get_by_id(row_id))
        plan = confirmed_plan(cache, facts, confirm_shared=False)
        with database.session() as session:
            ModelService(session, cache).delete(row_id, plan)
    for row_id in rows:
        finish_removal(database, row_id)
    assert bytes_below(cache.cache_dir) == 0


def test_a_plan_that_is_not_true_any_more_is_made_again(
    database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id
    plans: list[RowPlan] = []

    def plan(*arguments: Any, **options: Any) -> RowPlan:
        plans.append(confirmed_plan(*arguments, **options))
        if len(plans) == 2:
            with database.session() as session:
                new_row(session, cache, quantization="4bit")
        return plans[-1]

    monkeypatch.setattr(model_actions, "confirmed_plan", plan)
    report = delete_model(database, row_id)
    assert len(plans) == 3
    assert (report.freed_bytes, report.kept_bytes) == (0, SNAPSHOT_BYTES)
    assert not cache.inventory(MODEL_ID, COMMIT, remote_files()).missing


def test_a_refused_deletion_cancels_nothing(database: Database, cache: HubCache) -> None:
    store(cache)
    with database.session() as session:
        models = ModelService(session, cache)
        row, job, _owner = downloading(models, cache)
        note_manifest(row, cache)
        row.adopted = True
    with pytest.raises(SharedCache):
        delete_model(database, row.id)
    with database.reading() as session:
        assert session.get_one(Job, job.id).control is JobControl.RUN


def test_deleting_a_waiting_or_paused_download(database: Database, cache: HubCache) -> None:
    for pause in (False, True):
        with database.session() as session:
            models = ModelService(session, cache)
            row = new_row(session, cache)
            models.start_download(row)
            if pause:
                models.pause(row.id)
        unfinished = part(cache)
        delete_model(database, row.id)
        assert not unfinished.exists()
    with database.reading() as session:
        assert not session.scalars(select(Model)).all()
        assert not session.scalars(select(Job)).all()


def test_deleting_a_failed_download_counts_its_unfinished_files(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        row = new_row(session, cache)
        ModelService(session, cache).mark_ended(row, ModelStatus.FAILED, {"code": "x", "message": "y", "hint": None})
    part(cache, b"p" * 8192)
    before = bytes_below(cache.cache_dir)
    assert delete_model(database, row.id).freed_bytes == before == 8192
    assert bytes_below(cache.cache_dir) == 0


def test_a_worker_that_does_not_let_go(database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_actions, "CANCEL_WAIT_SECONDS", 0.3)
    with database.session() as session:
        row, job, owner = downloading(ModelService(session, cache), cache)
    store(cache)
    with pytest.raises(Conflict):
        delete_model(database, row.id)
    assert not cache.inventory(MODEL_ID, COMMIT, remote_files()).missing

    def let_go() -> None:
        with database.session() as session:
            assert JobService(session).heartbeat(job.id, owner, None) is JobControl.CANCEL
            JobService(session).finish(job.id, owner, JobState.CANCELLED)
            models = ModelService(session, cache)
            model = models.get_by_id(row.id)
            models.mark_cancelled(model, JobKind.DOWNLOAD, look_at_files(cache, model))

    monkeypatch.setattr(model_actions, "CANCEL_WAIT_SECONDS", 20)
    worker = threading.Timer(0.3, let_go)
    worker.start()
    delete_model(database, row.id)
    worker.join()
    with pytest.raises(ModelNotFound):
        delete_model(database, row.id)


# Small things


def test_what_is_still_to_be_fetched(models: ModelService, cache: HubCache) -> None:
    files = remote_files()
    assert bytes_to_fetch(cache, MODEL_ID, COMMIT, files) == SNAPSHOT_BYTES
    begun = cache.part_path(MODEL_ID, files[1].blob)
    cache.prepare(MODEL_ID)
    begun.write_bytes(b"w" * 400)
    assert bytes_to_fetch(cache, MODEL_ID, COMMIT, files) == SNAPSHOT_BYTES - 400
    begun.unlink()
    store(cache, OTHER_COMMIT)
    assert bytes_to_fetch(cache, MODEL_ID, COMMIT, files) == 0
    small_bytes = sum(file.size_bytes for file in files if not file.sha256)
    assert bytes_to_fetch(cache, "other/model", COMMIT, files) == small_bytes
    cache.prepare("other/model")
    cache.part_path("other/model", files[1].blob).write_bytes(b"w" * 400)
    assert bytes_to_fetch(cache, "other/model", COMMIT, files) == small_bytes + files[1].size_bytes - 400
    twice = [*files, *remote_files({"copy.safetensors": CONTENTS["model.safetensors"]})]
    assert bytes_to_fetch(HubCache(cache.cache_dir / "empty"), MODEL_ID, COMMIT, twice) == SNAPSHOT_BYTES


def test_the_manifest_and_its_presence(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        row = ready_row(session, cache)
        assert manifest(row) == remote_files()
        assert manifest(new_row(session, cache, quantization="8bit")) == []
    (cache.snapshot_path(MODEL_ID, COMMIT) / "config.json").unlink()
    assert {file.path: file.present for file in installed_files(database, row.id).items} == {
        "config.json": False,
        "model.safetensors": True,
    }


def test_stored_bytes_count_a_snapshot_once(models: ModelService, cache: HubCache) -> None:
    ready_row(models.session, cache)
    ready_row(models.session, cache, quantization="4bit")
    assert models.files.stored_bytes() == SNAPSHOT_BYTES


def test_an_import_that_changed_in_place_is_neither_ready_nor_loaded(models: ModelService, cache: HubCache) -> None:
    row = ready_row(models.session, cache)
    blob = (cache.snapshot_path(MODEL_ID, COMMIT) / "config.json").resolve()
    assert row.files is not None
    row.files = [
        file | {"seen": identity((cache.snapshot_path(MODEL_ID, COMMIT) / file["path"]).stat())} for file in row.files
    ]
    assert models.files.mark_missing(differing(models)) == 0
    require_unchanged(cache, row)

    blob.write_bytes(b"[]")  # of the same size
    os.utime(blob, ns=(0, 0))
    with pytest.raises(NotReady, match=r"config\.json"):
        require_unchanged(cache, row)
    assert models.files.mark_missing(differing(models)) == 1
    assert row.error is not None
    assert (row.status, row.error["code"]) == (ModelStatus.MISSING, "files_changed")


def test_a_snapshot_that_leads_elsewhere_is_not_loaded(models: ModelService, cache: HubCache, tmp_path: Path) -> None:
    row = ready_row(models.session, cache)
    config = cache.snapshot_path(MODEL_ID, COMMIT) / "config.json"
    (tmp_path / "other").write_bytes(b"{}")
    config.unlink()
    config.symlink_to(tmp_path / "other")
    with pytest.raises(NotReady, match=r"config\.json"):
        require_unchanged(cache, row)


def test_a_model_that_is_deleted_while_it_is_estimated_is_no_failure(
    database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id

    def exact(*_: object, **__: object) -> ExactFigures:
        with database.session() as session:
            models = ModelService(session, cache)
            models.deletion.end(models.get_by_id(row_id))
        return ExactFigures({"none": 1}, 1)

    monkeypatch.setattr(MemoryService, "exact", exact)
    monkeypatch.setattr(maintenance, "local_checkpoint", lambda row: row)
    tried: set[str] = set()
    maintenance.estimate_exactly(database, tried)
    assert tried == {row_id}
    with database.reading() as session:
        assert ModelService(session, cache).find(row_id) is None
