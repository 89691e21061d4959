"""What is private to huggingface_hub is imported in one module, and is there as that module's users call it."""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.hub import _hf_private

PACKAGE = Path(modelyard.__file__).parent
FENCE = Path(_hf_private.__file__)
PROJECT = Path(__file__).parents[3] / "pyproject.toml"

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "expected_shared_blob_freed_size": (("payload",), {"blob_paths_to_delete": set(), "cache_dir": "folder"}),
    "get_xet_session": ((), {}),
    "hf_request_event_hook": (("request",), {}),
    "is_xet_available": ((), {}),
    "refresh_xet_connection_info": ((), {"file_data": "file", "headers": {}}),
    "shared_blob_target": (("blob", "folder"), {}),
    "sweep_shared_blob": (("payload",), {"cache_dir": "folder"}),
    "xet_headers_without_auth": (({},), {}),
}
"""Name → arguments as our code gives them."""


def private_imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that a file imports and huggingface_hub marks as private."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "huggingface_hub":
            for alias in node.names:
                if any(part.startswith("_") for part in [*str(node.module).split("."), alias.name]):
                    yield str(node.module), alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, *rest = alias.name.split(".")
                if first == "huggingface_hub" and any(part.startswith("_") for part in rest):
                    yield alias.name, ""


def test_one_module_imports_what_is_private() -> None:
    found = {path for path in PACKAGE.rglob("*.py") if list(private_imports(path))}

    assert found == {FENCE}


@pytest.mark.parametrize(("module", "name"), sorted(private_imports(FENCE)))
def test_a_private_name_is_there_as_it_is_called(module: str, name: str) -> None:
    function = getattr(importlib.import_module(module), name)
    arguments, options = CALLS[name]

    inspect.signature(function).bind(*arguments, **options)


def test_every_fenced_name_is_offered() -> None:
    assert {name for _module, name in private_imports(FENCE)} == set(_hf_private.__all__) == set(CALLS)


@pytest.mark.parametrize("package", ["huggingface_hub", "transformers", "httpx2"])
def test_what_is_used_beyond_its_promises_has_an_upper_bound(package: str) -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["torch"]]

    assert [text for text in declared if re.fullmatch(rf"{package}>=[\d.]+,<\d+", text)]
