"""Whether a branch has moved, asked of a real Hub whose branches move."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub.hub_faults import HubFaults, serve
from modelyard.core.database import Database, utc_now
from modelyard.core.errors import Conflict, HubUnreachable, RevisionNotFound
from modelyard.hub.server.app import create_hub_app
from modelyard.models import Model, ModelStatus
from modelyard.schemas.system import SettingsUpdate
from modelyard.services.model_response import ModelResponses
from modelyard.services.settings_service import LOCAL, SettingsService
from modelyard.services.update_service import Branch, UpdateService
from support.folder_hub import FolderSource, make_llama

MODEL_ID = "lab/moving"


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return FolderSource(lab__moving=make_llama(tmp_path / "first", weight_bytes=100_000))


@pytest.fixture
def hub(source: FolderSource) -> HubFaults:
    return HubFaults(create_hub_app([source], api_key=None))


@pytest.fixture
def endpoint(database: Database, hub: HubFaults) -> Iterator[str]:
    with serve(hub) as endpoint:
        with database.session() as session:
            SettingsService(session).update(SettingsUpdate(endpoint=endpoint))
        yield endpoint


def add(database: Database, endpoint: str, commit: str, **fields: object) -> str:
    row = Model(
        **{
            "model_id": MODEL_ID,
            "canonical_id": MODEL_ID,
            "endpoint": endpoint,
            "commit": commit,
            "status": ModelStatus.READY,
            **fields,
        }
    )
    with database.session() as session:
        session.add(row)
    return row.id


def known(database: Database, row_id: str) -> tuple[bool | None, str | None]:
    with database.reading() as session:
        answer = ModelResponses(session).of_id(row_id).response()
    return answer.update_available, answer.latest_commit


def run(updates: UpdateService, **due: float) -> list[Branch]:
    """One round of the API's duty."""
    branches = updates.due(**due)
    for branch in branches:
        updates.refresh(branch)
    return branches


def test_a_branch_that_moves(
    database: Database, endpoint: str, source: FolderSource, hub: HubFaults, tmp_path: Path
) -> None:
    commit = source.repos[MODEL_ID].commit
    rows = [add(database, endpoint, commit), add(database, endpoint, commit, quantization="4bit")]
    updates = UpdateService(database)
    assert [known(database, row_id) for row_id in rows] == [(None, None)] * 2

    assert run(updates) == [Branch(endpoint, MODEL_ID, "main")]
    assert [known(database, row_id) for row_id in rows] == [(False, commit)] * 2
    assert len(hub.requests) == 1, "one small request for all precisions"

    newer = source.move(MODEL_ID, make_llama(tmp_path / "second", weight_bytes=200_000))
    assert run(updates) == [], "not again within hours"
    updates.check(rows[0])
    assert [known(database, row_id) for row_id in rows] == [(True, newer)] * 2
    assert {request.path for request in hub.requests} == {f"/api/models/{MODEL_ID}/revision/main"}


def test_whether_a_repository_is_private_is_learned_as_well(
    database: Database, endpoint: str, source: FolderSource, hub: HubFaults
) -> None:
    """A row of an earlier version, which did not note it, and one whose repository was opened or closed since."""

    def private() -> bool:
        with database.reading() as session:
            return session.get_one(Model, row_id).private

    row_id = add(database, endpoint, source.repos[MODEL_ID].commit)
    updates = UpdateService(database)
    for hidden in (False, True):
        hub.clear()
        if hidden:
            hub.hide(MODEL_ID, readers={None})  # type: ignore[arg-type]
        updates.check(row_id)
        assert private() is hidden
    hub.fail("/api/models/", 404, times=1)
    run(updates, older_than_seconds=-1)
    assert private() is True, "a repository that is hidden from this token is not an open one"
    updates.check(row_id)
    hub.clear()
    updates.check(row_id)
    assert private() is False


def test_what_cannot_move_is_not_asked_about(database: Database, endpoint: str, source: FolderSource) -> None:
    commit = source.repos[MODEL_ID].commit
    pinned = add(database, endpoint, commit, revision=commit)
    short = add(database, endpoint, commit, revision=commit[:10], quantization="8bit")
    folder = add(database, LOCAL, "f" * 40, model_id="local/mine")
    add(database, "https://another.example", commit, model_id="lab/elsewhere")
    add(database, endpoint, commit, quantization="4bit", status=ModelStatus.FAILED)
    updates = UpdateService(database)
    assert updates.due() == []
    for row_id in (pinned, short, folder):
        with pytest.raises(Conflict):
            updates.check(row_id)


def test_what_was_looked_at_lately_waits(database: Database, endpoint: str) -> None:
    for name, hours in (("old", 9), ("older", 12), ("fresh", 1)):
        checked = utc_now() - timedelta(hours=hours)
        add(database, endpoint, "c" * 40, model_id=f"lab/{name}", latest_commit="c" * 40, checked_at=checked)
    add(database, endpoint, "c" * 40, model_id="lab/never")
    assert [branch.model_id for branch in UpdateService(database).due()] == ["lab/never", "lab/older", "lab/old"]


def test_nobody_is_asked_offline(database: Database, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row_id = add(database, endpoint, "c" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    updates = UpdateService(database)
    assert updates.due() == []
    with pytest.raises(HubUnreachable):
        updates.check(row_id)


def test_a_branch_that_is_gone_and_a_hub_that_fails(database: Database, endpoint: str, hub: HubFaults) -> None:
    row_id = add(database, endpoint, "c" * 40, revision="gone", latest_commit="d" * 40)
    updates = UpdateService(database)
    assert known(database, row_id) == (True, "d" * 40)
    with pytest.raises(RevisionNotFound):
        updates.check(row_id)
    hub.fail("/api/models/", 503, times=-1)
    with pytest.raises(HubUnreachable):
        run(updates)
    assert known(database, row_id) == (True, "d" * 40), "an outage says nothing of the branch"
    hub.clear()
    run(updates)
    assert known(database, row_id) == (None, None)
    assert updates.due() == []
