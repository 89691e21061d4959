"""Tags, notes and favourites of repositories."""

import pytest
from pydantic import ValidationError

from modelyard.hub.cache.hub_cache import HubCache
from modelyard.schemas.label import MAX_NOTE_LENGTH, MAX_TAG_LENGTH, MAX_TAGS, LabelChange
from modelyard.services import model_response
from modelyard.services.label_service import LabelService
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService

from .cache import new_row


def test_all_rows_of_a_repository_have_the_same(
    models: ModelService, cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_response, "hub_cache", lambda: cache)
    answers = ModelResponses(models.session)
    plain, four = (new_row(models.session, cache, quantization=each) for each in ("none", "4bit"))
    other = new_row(models.session, cache, model_id="lab/other")
    models.session.flush()
    before = four.updated_at
    labels = LabelService(models.session)

    labels.change(plain, LabelChange(tags=["b", " a ", "b"], note="Mine."))
    labels.change(four, LabelChange(favourite=True))

    told = [(answer.tags, answer.note, answer.favourite) for answer in map(_response, answers.of_all([plain, four]))]
    assert told == [(["a", "b"], "Mine.", True)] * 2
    unlabelled = _response(answers.of(other))
    assert (unlabelled.tags, unlabelled.note, unlabelled.favourite) == ([], "", False)
    models.session.refresh(four)
    assert four.updated_at > before, "live events tell of it"

    found = lambda **wanted: {row.id for row in models.list(**wanted)[0]}  # noqa: E731
    both = {plain.id, four.id}
    assert found(tags=["a", "b"]) == found(favourite=True) == found(tags=["b"], favourite=True) == both
    assert found(favourite=False) == {other.id}
    assert found(tags=["a", "c"]) == found(tags=["b"], favourite=False) == set()

    models.deletion.end(plain)
    models.deletion.end(four)
    again = new_row(models.session, cache)
    assert _response(answers.of(again)).tags == ["a", "b"], "kept for when it is there again"
    labels.change(again, LabelChange(tags=[], note=""))
    assert _response(answers.of(again)).tags == []
    assert _response(answers.of(again)).favourite


def _response(facts: model_response.RowFacts) -> model_response.ModelResponse:
    return facts.response()


@pytest.mark.parametrize(
    "change",
    [
        {"tags": [""]},
        {"tags": ["x" * (MAX_TAG_LENGTH + 1)]},
        {"tags": [str(number) for number in range(MAX_TAGS + 1)]},
        {"tags": None},
        {"note": "x" * (MAX_NOTE_LENGTH + 1)},
        {"favourite": None},
        {"favorite": True},
    ],
)
def test_what_is_no_label_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LabelChange.model_validate(change)
