"""Texts and JSON of strangers can be written to both databases, wherever they go."""

import math
from typing import Any

import pytest
from sqlalchemy import JSON, String, Text, insert, select

from modelyard.core.database import Database
from modelyard.core.stored_text import clean_json, clean_text, dump_json
from modelyard.models import Base, Inspection, Job, JobKind, Model
from modelyard.models.training import Training

ODD = "a\0b\ud800c\udfffd\N{GRINNING FACE}"
CLEAN = "a\ufffdb\ufffdc\ufffdd\N{GRINNING FACE}"
ODD_JSON = {ODD: [ODD, math.nan, math.inf, -math.inf, {"x": (1, 2.5, True, None, ODD)}]}
CLEAN_JSON = {CLEAN: [CLEAN, None, None, None, {"x": [1, 2.5, True, None, CLEAN]}]}


def test_clean_values_stay_what_they_are() -> None:
    assert clean_text("plain \N{GRINNING FACE}") == "plain \N{GRINNING FACE}"
    assert clean_json([1, "a", None, 2.5]) == [1, "a", None, 2.5]
    assert dump_json({"a": "\\u0000 is written so"}) == '{"a": "\\\\u0000 is written so"}'


def _texts(table: str) -> list[tuple[str, bool]]:
    """Name of every column that takes free text or JSON, and whether it is JSON."""
    found = []
    for column in Base.metadata.tables[table].columns:
        free = type(column.type) in (String, Text) and not column.primary_key and not column.foreign_keys
        if free or isinstance(column.type, JSON):
            found.append((column.name, isinstance(column.type, JSON)))
    return found


MINIMAL: dict[str, dict[str, Any]] = {
    "models": {"model_id": "a/b", "canonical_id": "a/b", "endpoint": "hub", "commit": "c"},
    "jobs": {"kind": JobKind.GENERATE, "queue": "inference", "subject_id": "s"},
    "trainings": {
        "model_id": "a/b",
        "commit": "c",
        "quantization": "none",
        "config": {},
        "hook_point": "h",
        "d_in": 1,
        "d_sae": 1,
        "plan": {},
        "tokens_total": 1,
    },
    "inspections": {"model_id": "a/b", "commit": "c", "question": "q", "answer": {}},
}
CLASSES = {"models": Model, "jobs": Job, "trainings": Training, "inspections": Inspection}


@pytest.mark.parametrize("table", MINIMAL)
def test_every_column_that_takes_foreign_text(database: Database, table: str) -> None:
    columns = _texts(table)
    assert columns
    for name, is_json in columns:
        value, clean = (ODD_JSON, CLEAN_JSON) if is_json else (ODD, CLEAN)
        with database.session() as session:
            row = CLASSES[table](**{**MINIMAL[table], name: value})
            session.add(row)
            session.flush()
            session.expire(row)
            assert getattr(row, name) == clean, name
            session.delete(row)


def test_many_rows_at_once_and_a_search_for_odd_text(database: Database) -> None:
    rows = [{"model_id": f"a/{n}", "commit": ODD, "question": "q", "answer": ODD_JSON} for n in range(3)]
    with database.session() as session:
        session.execute(insert(Inspection), rows)
    with database.reading() as session:
        assert session.scalars(select(Inspection.commit)).all() == [CLEAN] * 3
        assert session.scalars(select(Inspection).where(Inspection.question == "q\0")).all() == []
        assert session.scalars(select(Inspection).where(Inspection.question.contains("\ud800"))).all() == []
