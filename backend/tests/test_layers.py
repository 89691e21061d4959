"""Imports point one way, and the API process stays free of what only workers need."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard

PACKAGE = Path(modelyard.__file__).parent
COMMAND_LINE = {"cli", "commands", "client", "__main__", "notebook", "openapi"}

MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "models": {"core"},
    "schemas": {"core"},
    "hub": {"core"},
    "ml": {"core"},
    "services": {"models", "schemas", "hub", "core"},
    "api": {"services", "schemas", "models", "hub", "core"},
    "workers": {"services", "ml", "models", "schemas", "hub", "core"},
    "main": {"api", "services", "schemas", "hub", "core"},
    "migrations": {"models", "core"},
}
"""Part of the package → the parts its modules import when they are imported."""

MAY_IMPORT_LATER: dict[str, set[str]] = {"services": {"ml"}, "hub": {"ml"}}
"""Inside functions only: torch comes with `ml`, and these are called in workers and children."""

RUNS_CHILDREN = "modelyard.core.process"
"""How a child process is run, on both of its ends. It knows only `core`, so that others may know it."""

FOREIGN: dict[str, set[str]] = {
    "ml": {"fastapi", "starlette", "sqlalchemy", "alembic", "celery", "kombu", "uvicorn"},
    "core": {"fastapi", "starlette", "torch", "transformers", "bitsandbytes"},
    "models": {"fastapi", "torch", "transformers"},
    "schemas": {"fastapi", "sqlalchemy", "torch", "transformers"},
    "hub": {"fastapi", "sqlalchemy", "celery", "torch", "transformers"},
    "services": {"fastapi", "starlette", "torch", "transformers", "bitsandbytes", "celery"},
    "api": {"torch", "transformers", "bitsandbytes", "celery"},
}
"""Packages that a part of ours does not know at all, or, where it may call `ml`, only inside functions."""


def part_of(module: str) -> str:
    """`modelyard.core.database` → `core`; the package itself (its version) → nothing."""
    return ".".join(module.split(".")[1:2])


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether only when a function runs) of one file; imports for type checkers do not count."""

    def visit(node: ast.AST, later: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            if node.module == "modelyard":
                yield from ((f"modelyard.{alias.name}", later) for alias in node.names)
            else:
                yield node.module, later
        later = later or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, later)

    yield from visit(ast.parse(path.read_text()), False)


def modules() -> list[tuple[str, Path]]:
    return [
        (path.relative_to(PACKAGE).with_suffix("").parts[0], path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    ]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_parts_know_only_what_is_below_them(part: str) -> None:
    files = [path for name, path in modules() if name == part]
    assert files
    wrong = []
    for path in files:
        for module, later in imports(path):
            if not module.startswith("modelyard.") or (module == RUNS_CHILDREN and part in ("services", "ml")):
                continue
            allowed = MAY_IMPORT[part] | {part} | (MAY_IMPORT_LATER.get(part, set()) if later else set())
            if part_of(module) not in allowed and part_of(module) != "__version__":
                wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert wrong == []


@pytest.mark.parametrize("part", FOREIGN)
def test_parts_do_not_know_what_is_not_their_business(part: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for name, path in modules()
        if name == part
        for module, later in imports(path)
        if not (later and part in MAY_IMPORT_LATER)
        if module.split(".")[0] in FOREIGN[part]
    ]
    assert wrong == []


def test_running_children_needs_only_the_core() -> None:
    path = PACKAGE.parent.joinpath(*RUNS_CHILDREN.split(".")).with_suffix(".py")
    ours = [module for module, _later in imports(path) if module.startswith("modelyard.")]
    assert {part_of(module) for module in ours} == {"core"}


def test_every_part_has_its_rule() -> None:
    assert {name for name, _path in modules()} <= set(MAY_IMPORT) | COMMAND_LINE


HEAVY = ("torch", "transformers", "bitsandbytes", "accelerate", "sae_lens", "celery.worker", "celery.bin", "numpy")

HEAVY_TOPS = {name.split(".")[0] for name in HEAVY}

_STARTED = """
import asyncio, json, sys
from modelyard.main import create_app

app = create_app()
asked = []

async def ask(path):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
             "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 8000), "headers": [(b"host", b"127.0.0.1:8000")]}
    await app(scope, receive, send)
    asked.append(sent[0]["status"])

async def main():
    async with app.router.lifespan_context(app):
        for path in ("/healthz", "/readyz", "/api/v1/models", "/api/v1/settings", "/openapi.json"):
            await ask(path)
        await asyncio.sleep(0.5)

asyncio.run(main())
print(json.dumps({"modules": sorted(sys.modules), "asked": asked}))
"""


def test_the_api_starts_and_answers_without_what_only_workers_need(tmp_path: Path) -> None:
    environment = {**os.environ, "MODELYARD_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")}
    del environment["HF_HUB_CACHE"]
    answer = subprocess.run(
        [sys.executable, "-c", _STARTED], check=True, capture_output=True, env=environment, text=True
    )
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["asked"] == [200] * 5
    loaded = [name for name in told["modules"] if f"{name}.".startswith(tuple(f"{heavy}." for heavy in HEAVY))]
    assert loaded == []


@pytest.mark.parametrize("module", ["modelyard.cli", "modelyard.workers.processes.supervisor"])
def test_light_entrances_stay_light(module: str) -> None:
    heavy = sorted(HEAVY_TOPS - {"celery"})
    code = f"import sys, {module}; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
