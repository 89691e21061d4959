"""Whoever meets an error is told what to do next: no construction of one in the sources goes without a hint."""

import ast
from collections.abc import Iterator
from pathlib import Path

import modelyard
from modelyard.core.errors import ModelyardError

SOURCES = Path(modelyard.__file__).parent
# These carry over the hint of an error that was met elsewhere.
PASSED_ON = {"ApiError", "InspectionFailed"}


def _parsed() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
    return ""


def _error_classes() -> dict[str, bool]:
    """Every class of error by name, and whether it brings a hint of its own or of its bases."""
    definitions = [node for _, module in _parsed() for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    found = {ModelyardError.__name__: False}
    while True:
        more = {
            node.name: any(found.get(_name(base), False) for base in node.bases) or _sets_hint(node)
            for node in definitions
            if node.name not in found and any(_name(base) in found for base in node.bases)
        }
        if not more:
            return found
        found |= more


def _sets_hint(definition: ast.ClassDef) -> bool:
    return any(
        _name(target) == "default_hint" and isinstance(statement.value, ast.Constant | ast.JoinedStr)
        for statement in definition.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    )


def test_every_error_says_what_to_do_next() -> None:
    classes = _error_classes()
    assert {"ModelNotFound", "Ambiguous", "ServerUnreachable"} <= classes.keys()
    without = [
        f"{path.relative_to(SOURCES)}:{call.lineno} {_name(call.func)}"
        for path, module in _parsed()
        for call in ast.walk(module)
        if isinstance(call, ast.Call)
        and classes.get(_name(call.func)) is False
        and _name(call.func) not in PASSED_ON
        and not any(keyword.arg in ("hint", None) for keyword in call.keywords)
    ]
    assert without == []
