"""What a row's answer says of its disk, its loads and its next start."""

import pytest

from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import EventKind, EventName, JobKind, Model, ModelStatus
from modelyard.services import model_response
from modelyard.services.model_files import look_at_files
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService

from .cache import new_row, ready_row
from .test_model_service import SNAPSHOT_BYTES

COPY_BYTES = 300


@pytest.fixture
def answers(models: ModelService, cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> ModelResponses:
    monkeypatch.setattr(model_response, "hub_cache", lambda: cache)
    return ModelResponses(models.session)


def with_copy(row: Model) -> Model:
    row.artifact_bytes = COPY_BYTES
    row.disk_bytes = SNAPSHOT_BYTES + COPY_BYTES
    return row


def test_a_shared_snapshot_is_counted_for_one_row(
    models: ModelService, cache: HubCache, answers: ModelResponses
) -> None:
    four = with_copy(ready_row(models.session, cache, quantization="4bit"))
    assert (answers.of(four).response().disk_bytes, answers.of(four).response().shared_bytes) == (
        SNAPSHOT_BYTES + COPY_BYTES,
        0,
    )
    eight = with_copy(ready_row(models.session, cache, quantization="8bit"))
    assert [facts.response().shared_bytes for facts in answers.of_all([four, eight])] == [0, SNAPSHOT_BYTES]
    plain = ready_row(models.session, cache)
    rows = [facts.response() for facts in answers.of_all([four, eight, plain])]
    assert [answer.shared_bytes for answer in rows] == [SNAPSHOT_BYTES, SNAPSHOT_BYTES, 0]
    assert sum(answer.disk_bytes - answer.shared_bytes for answer in rows) == SNAPSHOT_BYTES + 2 * COPY_BYTES


def test_the_rows_that_stay_are_told_that_the_snapshot_is_theirs(
    models: ModelService, cache: HubCache, answers: ModelResponses
) -> None:
    plain = ready_row(models.session, cache)
    four = with_copy(ready_row(models.session, cache, quantization="4bit"))
    models.session.flush()
    before = four.updated_at
    models.deletion.end(plain)
    models.session.refresh(four)
    assert answers.of(four).response().shared_bytes == 0
    assert four.updated_at > before


def test_a_cancelled_row_has_nothing_of_its_own(models: ModelService, cache: HubCache, answers: ModelResponses) -> None:
    original = ready_row(models.session, cache)
    copy = new_row(models.session, cache, quantization="4bit")
    copy.files = original.files
    models.mark_ended(copy, ModelStatus.CANCELLED)
    models.files.note(copy, look_at_files(cache, copy))
    answer = answers.of(copy).response()
    assert answer.disk_bytes == answer.shared_bytes == SNAPSHOT_BYTES
    assert answer.restarts_with == "quantize"


def test_what_an_ended_row_begins_with(models: ModelService, cache: HubCache, answers: ModelResponses) -> None:
    row = new_row(models.session, cache, quantization="4bit")
    assert answers.of(row).response().restarts_with is None
    models.mark_ended(row, ModelStatus.CANCELLED)
    assert answers.of(row).response().restarts_with == "download"
    models.start_job(row, JobKind.QUANTIZE)
    models.mark_ended(row, ModelStatus.FAILED)
    assert answers.of(row).response().restarts_with == "quantize"


def test_how_long_the_last_load_took(models: ModelService, cache: HubCache, answers: ModelResponses) -> None:
    row, other = ready_row(models.session, cache), ready_row(models.session, cache, quantization="4bit")
    assert answers.of(row).response().last_load_seconds is None
    history = models.jobs.history
    for seconds in (9.5, 0.17):
        history.note(row.id, EventKind.LOAD, EventName.DONE, seconds=seconds)
    history.note(row.id, EventKind.LOAD, EventName.FAILED, seconds=3.0)
    history.note(row.id, EventKind.UNLOAD, EventName.DONE)
    assert [facts.last_load_seconds for facts in answers.of_all([row, other])] == [0.17, None]
