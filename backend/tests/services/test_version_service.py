"""Updates and rolling back, with a real Hub whose branch moves and the downloads that a worker would make."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.core.database import Database
from modelyard.core.errors import AlreadyExists, Conflict
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.server.app import create_hub_app
from modelyard.models import Job, JobControl, JobKind, JobState, Model
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.label import LabelChange
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.system import SettingsUpdate
from modelyard.services import huggingface_model_service, model_actions, model_files, model_response
from modelyard.services.download_order import DownloadOrders
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.history_service import HistoryService
from modelyard.services.jobs.job_service import JobService
from modelyard.services.label_service import LabelService
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.openai.model_names import find_served
from modelyard.services.served_models import ServedModels
from modelyard.services.settings_service import SettingsService
from modelyard.services.update_service import UpdateService
from modelyard.services.version_service import VersionService
from support.folder_hub import FolderSource, make_llama

MODEL_ID = "lab/moving"
WEIGHTS = 100_000


class Lab:
    """An instance without processes: requests as the API makes them, and downloads as a worker does."""

    def __init__(self, database: Database, cache: HubCache, folder: Path) -> None:
        self.database, self.cache, self.folder = database, cache, folder
        self.source = FolderSource(lab__moving=folder)
        self.faults = HubFaults(create_hub_app([self.source], api_key=None))
        self.hub = HuggingFaceModelService(database)
        self.versions = VersionService(database)
        self._moves = 0

    def pull(self, **fields: str) -> str:
        row_id = self.hub.start_download(ModelDownloadRequest(model_id=MODEL_ID, **fields))  # type: ignore[arg-type]
        self.work(row_id)
        return row_id

    def move(self, **files: str) -> str:
        """Move the branch: the same files, but for these."""
        self._moves += 1
        newer = Path(shutil.copytree(self.folder, self.folder.with_name(f"move-{self._moves}")))
        for name, content in files.items():
            (newer / name.replace("__", ".")).write_text(content)
        self.folder = newer
        return self.source.move(MODEL_ID, newer)

    def work(self, row_id: str) -> None:
        """Do the row's job."""
        with self.database.session() as session:
            row = ModelService(session).get_by_id(row_id)
            assert JobService(session).claim(row.job_id or "", "w") is not None
        self.hub.download_model(row, _Worker())
        found = model_actions.files_on_disk(self.database, row_id)
        with self.database.session() as session:
            models = ModelService(session)
            job = session.get_one(Job, row.job_id)
            models.jobs.finish(job.id, job.owner or "", JobState.DONE)
            models.mark_done(models.get_by_id(row_id), JobKind.DOWNLOAD, found)

    def takeovers(self, row_id: str) -> int:
        """How often the history says that a version took the place of another."""
        with self.database.reading() as session:
            events = HistoryService(session).page(row_id, limit=50, offset=0).items
        return sum((event.kind, event.event) == ("version", "done") for event in events)

    def row(self, row_id: str) -> ModelResponse:
        with self.database.reading() as session:
            return ModelResponses(session).of_id(row_id).response()

    def in_use(self) -> str:
        """Return the row that the name means."""
        with self.database.reading() as session:
            return find_served(session, MODEL_ID).row.id

    def ref(self) -> str:
        return (self.cache.repo_folder(MODEL_ID) / "refs" / "main").read_text()

    def pin(self, row_id: str, commit: str | None) -> None:
        with self.database.session() as session:
            row = ModelService(session).get_by_id(row_id)
            LabelService(session).change(row, LabelChange(pinned_commit=commit))


class _Worker:
    def report(self, progress: JobProgress) -> None:
        pass

    def control(self) -> JobControl:
        return JobControl.RUN


@pytest.fixture
def lab(database: Database, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    # It would be built by a child process, which has tests of its own.
    monkeypatch.setattr(DownloadOrders, "require_loadable", lambda *_: None)
    for module in (huggingface_model_service, model_files, model_response):
        monkeypatch.setattr(module, "hub_cache", lambda: cache)
    folder = make_llama(tmp_path / "first", weight_bytes=WEIGHTS)
    (folder / "README.md").write_text("First.")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "a"}))
    lab = Lab(database, cache, folder)
    with serve(lab.faults) as endpoint:
        with database.session() as session:
            SettingsService(session).update(SettingsUpdate(endpoint=endpoint))
        yield lab


def test_an_update_takes_over_when_it_is_ready_and_can_be_rolled_back(lab: Lab) -> None:
    old = lab.pull()
    first = lab.row(old).commit
    up_to_date = lab.versions.update_plan(old)
    assert (up_to_date.commit, up_to_date.changed, up_to_date.fetch_bytes) == (first, [], 0)
    assert lab.versions.update(old) == old

    second = lab.move(README__md="Second.", tokenizer_config__json=json.dumps({"chat_template": "b"}))
    plan = lab.versions.update_plan(old)
    assert (plan.commit, plan.changed) == (second, ["template", "readme"])
    assert plan.fetch_bytes == len("Second.") + len('{"chat_template": "b"}'), "the weights are here by their hash"
    assert lab.row(old).update_available, "the plan asked the Hub"

    new = lab.versions.update(old)
    assert lab.versions.update(old) == new, "asked for twice"
    assert (lab.in_use(), lab.row(old).replaced_by, lab.ref()) == (old, None, first), "until it is ready"
    before = lab.row(old).updated_at
    lab.work(new)
    assert (lab.in_use(), lab.row(old).replaced_by, lab.ref()) == (new, new, second)
    assert (lab.row(new).previous_commit, lab.row(new).replaced_by) == (first, None)
    assert lab.row(old).updated_at > before, "live events tell of it"

    lab.faults.fail("/api/models/", 503, times=-1)
    back = lab.versions.rollback_plan(new)
    assert (back.commit, back.changed, back.fetch_bytes, back.id) == (first, ["template", "readme"], 0, old)
    assert lab.versions.rollback(new) == old
    assert (lab.in_use(), lab.row(new).replaced_by, lab.ref()) == (old, old, first)
    assert lab.row(old).update_available
    lab.faults.clear()
    assert lab.versions.update(old) == new
    assert lab.in_use() == new, "what is here is used at once"
    assert (lab.takeovers(new), lab.takeovers(old)) == (2, 1), "the first version took the place of none"


async def _served_commit(lab: Lab) -> str:
    return (await ServedModels(lab.database, lab.cache.cache_dir).get_repo(MODEL_ID, None)).commit


def test_other_programs_get_the_version_in_use(lab: Lab) -> None:
    old = lab.pull()
    lab.move(config__json=(lab.folder / "config.json").read_text() + " ")
    new = lab.versions.update(old)
    lab.work(new)
    assert asyncio.run(_served_commit(lab)) == lab.row(new).commit
    lab.versions.rollback(new)
    with lab.database.session() as session:  # what has nothing to do with versions
        LabelService(session).change(ModelService(session).get_by_id(new), LabelChange(note="Seen."))
    assert asyncio.run(_served_commit(lab)) == lab.row(old).commit


def test_an_update_that_fails_or_is_cancelled_leaves_the_old_version(lab: Lab) -> None:
    old = lab.pull()
    lab.move(README__md="Second.")
    new = lab.versions.update(old)
    model_actions.cancel_model(lab.database, new)
    assert (lab.row(new).status, lab.in_use()) == ("cancelled", old)
    assert lab.row(old).status == "ready"
    assert not lab.cache.inventory(MODEL_ID, lab.row(old).commit, model_files.manifest(_stored(lab, old))).missing
    assert lab.versions.update(old) == new, "asked for again, it begins again"
    lab.work(new)
    assert lab.in_use() == new


def _stored(lab: Lab, row_id: str) -> Model:
    with lab.database.reading() as session:
        return ModelService(session).get_by_id(row_id)


def test_a_version_that_was_deleted_is_fetched_again(lab: Lab) -> None:
    old = lab.pull()
    first = lab.row(old).commit
    lab.move(README__md="Second.")
    new = lab.versions.update(old)
    lab.work(new)
    model_actions.delete_model(lab.database, old)
    plan = lab.versions.rollback_plan(new)
    assert (plan.commit, plan.fetch_bytes, plan.id) == (first, len("First."), None)
    again = lab.versions.rollback(new)
    assert lab.in_use() == new
    lab.work(again)
    assert (lab.in_use(), lab.row(again).commit, lab.ref()) == (again, first, first)
    assert lab.row(again).update_available
    assert lab.versions.rollback_plan(again).id == new, "and forth"


def test_the_version_before_gets_the_name_of_one_that_is_deleted(lab: Lab) -> None:
    old = lab.pull()
    lab.move(README__md="Second.")
    new = lab.versions.update(old)
    lab.work(new)
    model_actions.delete_model(lab.database, new)
    assert (lab.in_use(), lab.ref()) == (old, lab.row(old).commit)
    model_actions.delete_model(lab.database, old)
    assert not lab.cache.has_ref(MODEL_ID, "main")


def test_a_named_commit(lab: Lab) -> None:
    rows = [lab.pull()]
    for text in ("Second.", "Third."):
        lab.move(README__md=text)
        rows.append(lab.versions.update(rows[-1]))
        lab.work(rows[-1])
    assert lab.versions.rollback(rows[2], lab.row(rows[0]).commit[:8]) == rows[0]
    assert lab.in_use() == rows[0]
    assert lab.row(rows[0]).previous_commit == lab.row(rows[2]).commit


def test_a_pinned_repository(lab: Lab) -> None:
    old = lab.pull()
    first = lab.row(old).commit
    lab.pin(old, first)
    second = lab.move(README__md="Second.")
    assert lab.versions.update_plan(old).changed == []
    assert lab.versions.update(old) == old
    for revision in ({}, {"revision": "main"}):
        with pytest.raises(AlreadyExists):
            lab.pull(**revision)
    updates = UpdateService(lab.database)
    updates.check(old)
    row = lab.row(old)
    assert (row.pinned_commit, row.latest_commit, row.update_available) == (first, second, False)
    with pytest.raises(Conflict, match="not at"):
        lab.pin(old, second)

    lab.pin(old, None)
    assert lab.row(old).update_available
    new = lab.versions.update(old)
    lab.work(new)
    lab.pin(new, second)
    with pytest.raises(Conflict, match="pinned"):
        lab.versions.rollback(new)
    model_actions.delete_model(lab.database, new)
    lab.move(README__md="Third.")
    again = lab.pull()
    assert (lab.row(again).commit, lab.row(again).latest_commit) == (second, None)
    assert lab.in_use() == again


def test_what_has_no_newer_version(lab: Lab) -> None:
    row_id = lab.pull(revision=lab.source.repos[MODEL_ID].commit)
    with pytest.raises(Conflict, match="never changes"):
        lab.versions.update_plan(row_id)
    lab.faults.fail("/api/models/", 503, times=-1)
    with pytest.raises(Conflict, match="No earlier version"):
        lab.versions.rollback(row_id)
