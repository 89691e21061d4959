"""Which row an adapter works with, as rows of its base come and go."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.core.errors import BaseMissing, InvalidRequest, NotReady
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import JobKind, Model, ModelKind, ModelStatus, Quantization
from modelyard.schemas.model import AdapterFacts
from modelyard.services.adapters import adapters_of, base_for, find_base, fits, link_adapters
from modelyard.services.deletion_plan import plan_row, plan_rows
from modelyard.services.model_deletion import ModelDeletion
from modelyard.services.model_files import FilesOnDisk
from modelyard.services.model_service import ModelService
from services.cache import COMMIT, OTHER_COMMIT, new_row

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _row(session: Session, cache: HubCache, status: ModelStatus = ModelStatus.READY, **fields: Any) -> Model:
    row = new_row(session, cache, fields.pop("commit", COMMIT), **fields)
    row.status = status
    session.flush()
    return row


def _adapter(session: Session, cache: HubCache, base: str = "owner/name", revision: str | None = None) -> Model:
    row = _row(session, cache, model_id="lab/adapter", canonical_id="lab/adapter")
    row.kind = ModelKind.ADAPTER
    row.adapter = AdapterFacts(base_model=base, base_revision=revision, rank=4, target_modules=["q_proj"]).model_dump()
    session.flush()
    return row


def test_full_precision_is_preferred_to_what_is_newer(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        full = _row(session, cache)
        copy = _row(session, cache, quantization="4bit")
        adapter = _adapter(session, cache)
        assert base_for(session, adapter) is full
        assert fits(adapter, copy)
        full.status = ModelStatus.MISSING
        session.flush()
        assert base_for(session, adapter) is copy


def test_only_a_ready_row_of_the_named_model_and_revision_fits(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        adapter = _adapter(session, cache, revision="v2")
        with pytest.raises(BaseMissing, match="owner/name@v2") as missing:
            base_for(session, adapter)
        assert missing.value.extra == {"base_model": "owner/name", "base_revision": "v2"}
        assert missing.value.hint is not None
        assert "modelyard pull owner/name@v2" in missing.value.hint
        other = _row(session, cache)
        assert not fits(adapter, other)
        right = _row(session, cache, ModelStatus.DOWNLOADING, commit=OTHER_COMMIT, revision="v2")
        assert not fits(adapter, right)
        with pytest.raises(NotReady, match="downloading"):
            base_for(session, adapter)
        right.status = ModelStatus.READY
        session.flush()
        assert base_for(session, adapter) is right


def test_a_base_is_known_by_its_name_on_the_hub_too(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        base = _row(session, cache, model_id="gpt2", canonical_id="openai-community/gpt2")
        assert base_for(session, _adapter(session, cache, "openai-community/gpt2")) is base


def test_an_adapter_is_no_base(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        adapter = _adapter(session, cache, base="lab/adapter")
        assert not fits(adapter, adapter)
        with pytest.raises(BaseMissing):
            base_for(session, adapter)
        with pytest.raises(InvalidRequest, match="is not an adapter"):
            base_for(session, _row(session, cache))


def test_an_adapter_names_the_row_that_came_and_another_when_it_goes(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        adapter = _adapter(session, cache)
        assert adapter.base_id is None
        copy = _row(session, cache, quantization="8bit")
        assert adapter.base_id == copy.id
        full = _row(session, cache)
        assert adapter.base_id == full.id
        assert find_base(session, AdapterFacts.model_validate(adapter.adapter)) is full
        both = frozenset({full.id, copy.id})
        assert [(use.name, use.bases) for use in adapters_of(session, copy)] == [("lab/adapter", both)]
        deletion = ModelDeletion(session)
        one, two = deletion.facts(full), deletion.facts(copy)
        assert plan_row(cache, one).report.adapters == []
        plan = plan_rows(cache, [one, two], confirm_shared=True)
        assert [item.adapters for item in plan.items] == [[], ["lab/adapter"]]
        with_it = plan_rows(cache, [one, two, deletion.facts(adapter)], confirm_shared=True)
        assert [item.adapters for item in with_it.items] == [[], [], []]
        full.status = ModelStatus.DELETING
        ModelDeletion(session).end(full)
        session.refresh(adapter)
        assert adapter.base_id == copy.id
        copy.status = ModelStatus.DELETING
        ModelDeletion(session).end(copy)
        session.refresh(adapter)
        assert adapter.base_id is None


def test_a_row_of_a_base_that_is_removed_otherwise_is_forgotten(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        adapter, base = _adapter(session, cache), _row(session, cache)
        link_adapters(session, base)
        assert adapter.base_id == base.id
        assert base.quantization is Quantization.NONE
        session.delete(base)
        session.flush()
        session.refresh(adapter)
        assert adapter.base_id is None


def test_pages_hear_of_an_adapter_whose_base_becomes_ready(database: Database, cache: HubCache) -> None:
    with database.session() as session:
        base = _row(session, cache, ModelStatus.DOWNLOADING)
        adapter = _adapter(session, cache)
        link_adapters(session, base)
        adapter.updated_at = LONG_AGO
        session.flush()
        found = FilesOnDisk(whole=True, artifact_bytes=0, disk_bytes=1)
        ModelService(session, cache).mark_done(base, JobKind.DOWNLOAD, found)
        session.refresh(adapter)
        assert adapter.updated_at > LONG_AGO
