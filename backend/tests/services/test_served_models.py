"""What the Hub endpoint lists and finds is what is ready now, and its cost does not grow with the number of models."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, event, insert, select, update

from modelyard.core.database import Database, utc_now
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.server.repositories import RepoNotFound
from modelyard.hub.sources import Found, RepoQuery
from modelyard.models import JobKind, Model, ModelStatus, Quantization, StoredRepoFacts
from modelyard.services import served_models
from modelyard.services.model_files import look_at_files
from modelyard.services.model_service import ModelService
from modelyard.services.served_models import ServedModels

from .cache import COMMIT, MODEL_ID, OTHER_COMMIT, ready_row

CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})


@pytest.fixture
def served(database: Database, cache: HubCache) -> ServedModels:
    return ServedModels(database, cache.cache_dir)


def find(served: ServedModels, *, skip: int = 0, limit: int = 100, **query: object) -> Found:
    return asyncio.run(served.find(RepoQuery(**query), skip=skip, limit=limit, details=False))  # type: ignore[arg-type]


def names(served: ServedModels, **query: object) -> list[str]:
    return [listed.repo.repo_id for listed in find(served, **query).items]  # type: ignore[arg-type]


def is_there(served: ServedModels, repo_id: str = MODEL_ID, revision: str | None = None) -> bool:
    try:
        asyncio.run(served.get_repo(repo_id, revision))
    except RepoNotFound:
        return False
    return True


def add_many(database: Database, count: int) -> None:
    """Ready rows with one small file each, which are not on the disk."""
    file = {"path": "config.json", "size_bytes": 2, "sha256": "0" * 64, "git_sha1": None, "present_before": False}
    now = utc_now()
    rows = [
        {
            "id": f"{number:032x}",
            "model_id": f"crowd/model-{number:05}",
            "canonical_id": f"crowd/model-{number:05}",
            "endpoint": "https://huggingface.co",
            "commit": f"{number:040x}",
            "status": ModelStatus.READY,
            "files": [file],
            "updated_at": now - timedelta(seconds=number),
        }
        for number in range(count)
    ]
    with database.session() as session:
        session.execute(insert(Model), rows)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("status", [ModelStatus.DELETING, ModelStatus.MISSING, ModelStatus.FAILED])
def test_what_is_ready_no_more_is_gone_at_once(
    database: Database, cache: HubCache, served: ServedModels, status: ModelStatus
) -> None:
    assert not is_there(served)
    with database.session() as session:
        row_id = ready_row(session, cache).id
    assert (names(served), is_there(served)) == ([MODEL_ID], True)
    with database.session() as session:
        session.get_one(Model, row_id).status = status
    assert (names(served), is_there(served)) == ([], False)
    with database.session() as session:
        session.get_one(Model, row_id).status = ModelStatus.READY
    assert (names(served), is_there(served)) == ([MODEL_ID], True)
    with database.session() as session:
        session.execute(delete(Model))
    assert (names(served), is_there(served)) == ([], False)


def test_a_quantized_copy_without_its_original_is_not_offered(
    database: Database, cache: HubCache, served: ServedModels
) -> None:
    """Its manifest is still that of the snapshot, which is gone."""
    with database.session() as session:
        row = ready_row(session, cache)
        row.quantization = Quantization.FOUR_BIT
    assert is_there(served)
    with database.session() as session:
        session.execute(update(Model).values(keep_original=False))
    assert (names(served), is_there(served)) == ([], False)


def test_what_the_files_say_is_read_once_and_again_after_they_were_checked(
    database: Database, cache: HubCache, served: ServedModels
) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id
    (listed,) = find(served).items
    assert listed.facts.pipeline_tag is None
    config = cache.snapshot_path(MODEL_ID, COMMIT) / "config.json"
    config.resolve().write_text(CONFIG)
    assert find(served).items[0].facts.pipeline_tag is None
    with database.session() as session:
        models = ModelService(session, cache)
        row = models.get_by_id(row_id)
        sizes = {"config.json": len(CONFIG)}
        row.files = [file | {"size_bytes": sizes.get(file["path"], file["size_bytes"])} for file in row.files or ()]
        models.mark_done(row, JobKind.VERIFY, look_at_files(cache, row))
    (listed,) = find(served).items
    assert (listed.facts.pipeline_tag, listed.facts.tags) == (
        "text-generation",
        ("transformers", "llama", "text-generation"),
    )
    assert names(served, tags=frozenset({"llama"})) == [MODEL_ID]
    assert names(served, tags=frozenset({"Llama"})) == names(served, tags=frozenset({"lama"})) == []
    assert names(served, pipeline_tag="text-generation") == [MODEL_ID]
    assert names(served, pipeline_tag="fill-mask") == []


def test_facts_go_with_the_last_row_of_their_snapshot(
    database: Database, cache: HubCache, served: ServedModels
) -> None:
    with database.session() as session:
        row_id = ready_row(session, cache).id
        ready_row(session, cache, OTHER_COMMIT)
    asyncio.run(asyncio.to_thread(served.learn_all))
    with database.session() as session:
        assert set(session.scalars(select(StoredRepoFacts.commit))) == {COMMIT, OTHER_COMMIT}
        models = ModelService(session, cache)
        models.deletion.end(models.get_by_id(row_id))
        assert session.scalars(select(StoredRepoFacts.commit)).all() == [OTHER_COMMIT]


def test_two_processes_may_learn_the_same_at_once(database: Database, cache: HubCache, served: ServedModels) -> None:
    with database.session() as session:
        ready_row(session, cache)
    read_facts = served._read_facts
    other = ServedModels(database, cache.cache_dir)

    def overtaken(model: Model) -> StoredRepoFacts:
        other.learn_all()
        return read_facts(model)

    served._read_facts = overtaken  # type: ignore[method-assign]
    assert names(served) == [MODEL_ID]


def test_pages_hold_every_repository_once(database: Database, served: ServedModels, tmp_path: Path) -> None:
    add_many(database, 250)
    with database.session() as session:
        for number in range(0, 250, 5):  # an older revision of each fifth
            row = session.get_one(Model, f"{number:032x}")
            session.add(
                Model(
                    model_id=row.model_id,
                    canonical_id=row.canonical_id,
                    endpoint=row.endpoint,
                    commit=f"{number + 1:040x}",
                    revision="v0",
                    status=ModelStatus.READY,
                    files=row.files,
                    updated_at=row.updated_at + timedelta(days=1),
                )
            )
    pages = [find(served, skip=skip, limit=40) for skip in range(0, 280, 40)]
    listed = [listed.repo for page in pages for listed in page.items]
    assert [repo.repo_id for repo in listed] == [f"crowd/model-{number:05}" for number in range(250)]
    assert {getattr(repo, "commit", None) for repo in listed} == {f"{number:040x}" for number in range(250)}
    assert find(served, skip=400, limit=40) == Found([], 250)


def test_the_number_of_models_does_not_matter(
    database: Database, served: ServedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_many(database, 20)
    served.learn_all()

    def no_disk(*_: object) -> None:
        raise AssertionError("read from the disk")

    def cost() -> list[str]:
        with counted(database) as statements:
            assert len(find(served, limit=10).items) == 10
            assert names(served, words=("model-00007",)) == ["crowd/model-00007"]
            assert is_there(served, "crowd/model-00003")
        return statements

    few = cost()
    with database.session() as session:
        session.execute(delete(Model))
    add_many(database, 2000)
    served.learn_all()
    monkeypatch.setattr(served_models, "read_facts", no_disk)
    served._kept = served_models._KeptRepos()
    assert cost() == few
    assert len(few) <= 8


def test_a_page_is_read_along_an_index(database: Database, served: ServedModels) -> None:
    """Not by sorting every row: that is what makes it independent of their number."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's planner goes by statistics, which an empty table has not")
    add_many(database, 50)
    served.learn_all()
    with counted(database) as statements:
        find(served, limit=10)
    listing = next(statement for statement in statements if "ORDER BY" in statement)
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {listing}", ("main",) * listing.count("?")).all()
    steps = [row[-1] for row in plan]
    assert any("ix_models_status_updated_at" in step for step in steps)
    assert not any("TEMP B-TREE" in step for step in steps), steps
