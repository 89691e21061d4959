"""Names under `/v1`: what they mean, what they are answered with, and which are offered instead."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from modelyard.core.errors import BaseMissing, Conflict, InvalidRequest, ModelNotFound, NotReady
from modelyard.models import Model, ModelKind, ModelStatus, Quantization
from modelyard.services.model_service import ModelService
from modelyard.services.openai.model_names import ModelName, Served, find_served, served_names

OLD, NEW = "a" * 40, "b" * 40


def find_row(session: Session, text: str) -> Model:
    served = find_served(session, text)
    assert served.adapter is None
    return served.row


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
    adapted = ModelName.parse(f"{text}+lab/adapter-1.0")
    assert adapted == ModelName(model_id, revision, Quantization(quantization), "lab/adapter-1.0")


@pytest.mark.parametrize("text", ["", " ", "owner/name:", "owner/name:2bit", "owner/name@", "a b", ":4bit", "@main"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ModelName.parse(text)
    assert refused.value.extra["param"] == "model"


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
    named = [(served.row, name) for served, name in served_names(models.session)]
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


def adapter(models: ModelService, name: str = "lab/adapter", status: ModelStatus = ModelStatus.READY) -> Model:
    facts = {"base_model": "owner/name", "base_revision": None, "rank": 4, "target_modules": ["q_proj"]}
    return add(models, OLD, model_id=name, canonical_id=name, kind=ModelKind.ADAPTER, adapter=facts, status=status)


def test_an_adapter_is_named_beside_its_base_or_alone(models: ModelService) -> None:
    session, full, small = models.session, add(models, OLD), add(models, OLD, "4bit")
    first, second = adapter(models), adapter(models, "lab/other")
    for text in ("owner/name+lab/adapter", "lab/adapter", first.id, f"owner/name+{first.id}"):
        assert find_served(session, text) == Served(full, first)
    assert find_served(session, "owner/name:4bit+lab/other") == Served(small, second)
    assert find_served(session, "owner/name:4bit", "lab/adapter") == Served(small, first)
    assert find_served(session, small.id, first.id) == Served(small, first)
    named = served_names(session)
    assert [name for _, name in named if "+" in name] == [
        "owner/name+lab/adapter",
        "owner/name+lab/other",
        "owner/name:4bit+lab/adapter",
        "owner/name:4bit+lab/other",
    ]
    assert all(find_served(session, name) == served for served, name in named)
    for text, beside in (("owner/name+lab/adapter", "lab/other"), ("lab/adapter", "lab/other")):
        with pytest.raises(InvalidRequest):
            find_served(session, text, beside)


def test_an_adapter_without_its_base_is_refused(models: ModelService) -> None:
    session = models.session
    adapter(models)
    add(models, OLD, model_id="other/thing", canonical_id="other/thing")
    with pytest.raises(BaseMissing, match="owner/name"):
        find_served(session, "lab/adapter")
    with pytest.raises(Conflict, match="adapter of owner/name, not of other/thing"):
        find_served(session, "other/thing+lab/adapter")
    assert [name for _, name in served_names(session)] == ["other/thing"]
    add(models, OLD)
    with pytest.raises(ModelNotFound, match="lab/adaptr") as refused:
        find_served(session, "owner/name", "lab/adaptr")
    assert refused.value.extra["param"] == "modelyard.adapter"
    assert "lab/adapter" in str(refused.value.hint)
    with pytest.raises(InvalidRequest, match="owner/name is a model, not an adapter"):
        find_served(session, "owner/name+owner/name")
    adapter(models, "lab/late", status=ModelStatus.DOWNLOADING)
    with pytest.raises(NotReady, match="downloading"):
        find_served(session, "owner/name+lab/late")
