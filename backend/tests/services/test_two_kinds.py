"""A service joins its caller's transaction or owns its transactions, and says which."""

import inspect
import pkgutil
from importlib import import_module

import pytest

from modelyard import services


def parameters(kind: type) -> set[str]:
    """Those of its own constructor."""
    constructor = vars(kind).get("__init__")
    return set() if constructor is None else set(inspect.signature(constructor).parameters)


SERVICES: set[type] = {
    kind
    for found in pkgutil.walk_packages(services.__path__, "modelyard.services.")
    for _name, kind in inspect.getmembers(import_module(found.name), inspect.isclass)
    if kind.__module__ == found.name and {"session", "database"} & parameters(kind)
}


@pytest.mark.parametrize("kind", sorted(SERVICES, key=str), ids=lambda kind: kind.__name__)
def test_a_service_joins_a_transaction_or_owns_its_own(kind: type) -> None:
    takes = parameters(kind)
    joins = "session" in takes
    assert joins != ("database" in takes), "one or the other"
    assert joins == ("never commits" in (kind.__doc__ or "")), "its docstring says so"
    source = inspect.getsource(kind)
    assert not (joins and (".commit()" in source or ".session() as" in source))


def test_both_kinds_are_there() -> None:
    names = {kind.__name__ for kind in SERVICES}
    assert {"ModelService", "ModelDeletion", "HuggingFaceModelService", "LocalModelService"} <= names
