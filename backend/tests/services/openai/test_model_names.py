"""Names under `/v1`: what they mean, what they are answered with, and which are offered instead."""

from datetime import UTC, datetime, timedelta

import pytest

from modelyard.core.errors import InvalidRequest, ModelNotFound, NotReady, UnsupportedParameter
from modelyard.models import Model, ModelStatus, Quantization
from modelyard.services.model_service import ModelService
from modelyard.services.openai.model_names import ModelName, find_row, named_rows

OLD, NEW = "a" * 40, "b" * 40


def add(models: ModelService, commit: str, quantization: str = "none", **fields: object) -> Model:
    row = Model(
        **{
            "model_id": "owner/name",
            "canonical_id": "owner/name",
            "endpoint": "https://hub.example",
            "commit": commit,
            "quantization": Quantization(quantization),
            "status": ModelStatus.READY,
            "created_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=commit == NEW),
        }
        | fields
    )
    models.session.add(row)
    models.session.flush()
    return row


@pytest.mark.parametrize(
    ("text", "model_id", "revision", "quantization"),
    [
        ("owner/name", "owner/name", None, "none"),
        ("gpt2", "gpt2", None, "none"),
        ("owner/name:4bit", "owner/name", None, "4bit"),
        ("owner/na.me-1_2@refs/pr/1", "owner/na.me-1_2", "refs/pr/1", "none"),
        ("owner/name@v1.0+fixed:8bit", "owner/name", "v1.0+fixed", "8bit"),
    ],
)
def test_a_name_is_read(text: str, model_id: str, revision: str | None, quantization: str) -> None:
    assert ModelName.parse(text) == ModelName(model_id, revision, Quantization(quantization))


@pytest.mark.parametrize("text", ["", " ", "owner/name:", "owner/name:2bit", "owner/name@", "a b", ":4bit", "@main"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ModelName.parse(text)
    assert refused.value.extra["param"] == "model"


@pytest.mark.parametrize("text", ["owner/name+a/b", "owner/name:4bit+a/b", "owner/name@main:4bit+a/b"])
def test_an_adapter_is_refused_by_name(text: str) -> None:
    with pytest.raises(UnsupportedParameter, match="adapter"):
        ModelName.parse(text)


def test_a_name_means_the_newest_ready_row_of_its_precision(models: ModelService) -> None:
    old, new, small = add(models, OLD), add(models, NEW), add(models, OLD, "4bit", revision="v1")
    session = models.session
    assert find_row(session, "owner/name") is new
    assert find_row(session, f"owner/name@{OLD}") is find_row(session, "owner/name@aaaaaaa") is old
    assert find_row(session, "owner/name:4bit") is find_row(session, "owner/name@v1:4bit") is small
    assert find_row(session, old.id) is old
    new.status = ModelStatus.MISSING
    session.flush()
    assert find_row(session, "owner/name") is old
    with pytest.raises(NotReady, match="missing"):
        find_row(session, f"owner/name@{NEW}")


def test_the_names_that_are_listed_are_found(models: ModelService) -> None:
    rows = [add(models, OLD), add(models, NEW), add(models, OLD, "4bit"), add(models, NEW, "4bit")]
    add(models, OLD, "8bit", status=ModelStatus.FAILED)
    named = named_rows(models.session)
    assert [name for _, name in named] == [
        "owner/name",
        "owner/name:4bit",
        f"owner/name@{OLD}",
        f"owner/name@{OLD}:4bit",
    ]
    assert {row.id for row, _ in named} == {row.id for row in rows}
    assert all(find_row(models.session, name) is row for row, name in named)


def test_an_unknown_name_is_answered_with_the_nearest(models: ModelService) -> None:
    with pytest.raises(ModelNotFound) as refused:
        find_row(models.session, "owner/name")
    assert "download" in str(refused.value.hint)
    add(models, OLD)
    add(models, OLD, "4bit")
    add(models, OLD, model_id="other/thing", canonical_id="other/thing")
    for asked in ("Owner/Name", "owner/nme", "owner/name:8bit", "owner/name@v9"):
        with pytest.raises(ModelNotFound) as refused:
            find_row(models.session, asked)
        assert "owner/name" in str(refused.value.hint)
        assert "other/thing" not in str(refused.value.hint)
    with pytest.raises(ModelNotFound, match="zzz") as refused:
        find_row(models.session, "zzz")
    assert "/v1/models" in str(refused.value.hint)
