"""The examples of the API's description are true to their schemas."""

import pkgutil
from importlib import import_module

import pytest

from modelyard import schemas
from modelyard.schemas.common import Schema

KINDS = [
    kind
    for found in pkgutil.iter_modules(schemas.__path__, "modelyard.schemas.")
    for kind in vars(import_module(found.name)).values()
    if isinstance(kind, type)
    and issubclass(kind, Schema)
    and kind.__module__ == found.name
    and "json_schema_extra" in kind.__dict__.get("model_config", {})
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_example_is_valid(kind: type[Schema]) -> None:
    for example in kind.model_json_schema()["examples"]:
        shown = kind.model_validate(example).model_dump(mode="json")
        assert {name: shown[name] for name in example} == example
