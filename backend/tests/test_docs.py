"""What exists is documented, and what is documented exists: variables, error codes, commands and calls."""

import importlib
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import typer

import modelyard
import offline
import reference
from modelyard import cli
from modelyard.api.error_page import errors_markdown
from modelyard.core.errors import ModelyardError
from modelyard.core.settings import Settings

PROJECT = Path(__file__).parents[2]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in [*PROJECT.glob("docs/*.md"), *PROJECT.glob("*.md")]}
EVERYTHING = "\n".join(DOCS.values())
MADE_BY_COMMANDS = {"frontend/node_modules", "frontend/coverage", "build/site"}


def test_variables() -> None:
    exist = {f"MODELYARD_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bMODELYARD_[A-Z_]+\b", EVERYTHING)) == exist


def test_error_codes() -> None:
    for module in pkgutil.walk_packages(modelyard.__path__, "modelyard."):
        if not module.name.startswith(("modelyard.migrations", "modelyard.workers.", "modelyard.ml.")) and not (
            module.name.endswith(("__main__", ".openapi"))
        ):
            importlib.import_module(module.name)
    exist = {error.code for error in _below(ModelyardError) if error.__module__.startswith("modelyard.")}
    documented = set(re.findall(r"^## `(\w+)`$", DOCS["errors.md"], re.MULTILINE))
    assert exist - documented == set()
    sources = _sources()
    assert [code for code in documented - exist if f'"{code}"' not in sources] == []
    assert "None" not in re.findall(r"^\*\*What to do:\*\* (.*)$", DOCS["errors.md"], re.MULTILINE)
    assert DOCS["errors.md"] == errors_markdown()


def test_commands() -> None:
    exist = set(_commands(typer.main.get_command(cli.app), ()))
    headings = {
        (name,)
        for heading in re.findall(r"^## (`.*)$", DOCS["cli.md"], re.MULTILINE)
        for name in re.findall(r"`(\w[\w-]*)`", heading)
    }
    assert headings <= {command[:1] for command in exist}
    for command in exist:
        assert re.search(rf"(modelyard |`){' '.join(command)}\b", DOCS["cli.md"]), command
    groups = {command[0] for command in exist if len(command) > 1}
    for written in re.findall(r"(?m)(?:^\$ |`)modelyard ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", EVERYTHING):
        first, _, second = written.partition(" ")
        assert (first,) in {command[:1] for command in exist}, written
        assert first not in groups or not second or (first, second) in {command[:2] for command in exist}, written


def test_calls() -> None:
    paths = json.loads((PROJECT / "frontend" / "openapi.json").read_text(encoding="utf-8"))["paths"]
    exist = {f"{method.upper()} {path.removeprefix('/api/v1')}" for path in paths for method in paths[path]}
    table = DOCS["api.md"].partition("## The calls")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([A-Z]+ /[^`]*)`", table)) == exist
    written = re.findall(r"`(?:curl )?((?:GET|POST|PUT|DELETE) /[^`?]*)", EVERYTHING)
    assert {call.replace(" /api/v1", " ") for call in written} <= exist


def test_the_architecture_is_that_of_the_import_contracts() -> None:
    page = DOCS["architecture.md"]
    table = page.partition("## Layers")[2].partition("\n## ")[0].partition("\nInside the larger layers")[0]
    layers = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    linter = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    [contract] = [contract for contract in linter["contracts"] if contract["type"] == "layers"]
    assert layers == [layer.split(" | ") for layer in contract["layers"]]


def test_modules_that_are_named_exist() -> None:
    package = Path(modelyard.__path__[0])
    inside = (package, package / "hub/download", package / "ml/generation")
    roots = (PROJECT, *inside, PROJECT / "backend" / "tests", PROJECT / "frontend" / "src")
    for name in ("architecture.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|tsx?|toml|md)|(?:[\w.-]+/)+[\w-]*)`", DOCS[name])
        named = [path for path in named if path not in MADE_BY_COMMANDS]
        assert len(named) > 10
        assert [path for path in named if not any((root / path).exists() for root in roots)] == []
    rooms = {
        f"{parent}/{folder.name}"
        for parent in ("services", "hub", "ml", "workers")
        for folder in (package / parent).iterdir()
        if folder.is_dir() and folder.name != "__pycache__"
    }
    assert set(re.findall(r"^\| `(\w+/\w+)`", DOCS["architecture.md"], re.MULTILINE)) == rooms


def test_links() -> None:
    wrong = []
    for name, text in DOCS.items():
        folder = PROJECT if (PROJECT / name).exists() else PROJECT / "docs"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (folder / target).exists():
                wrong.append(f"{name}: {target}")
    assert wrong == []


def test_the_generated_reference_is_whole() -> None:
    written = reference.commands()
    root = typer.main.get_command(cli.app)
    for command in _commands(root, ()):
        section = written.partition(f"## `modelyard {' '.join(command)}`\n")[2].partition("\n## ")[0]
        found = root
        for name in command:
            found = found.commands[name]  # type: ignore[attr-defined]
        options = [option.opts[0] for option in found.params if option.opts[0].startswith("-")]
        assert options, command
        assert [option for option in options if f"`{option}" not in section and f", {option}" not in section] == []
    assert set(re.findall(r"^\| `(MODELYARD_\w+)` \|.*\| \S", reference.settings(), re.MULTILINE)) == {
        f"MODELYARD_{name.upper()}" for name in Settings.model_fields
    }
    description = json.loads((PROJECT / "frontend" / "openapi.json").read_text(encoding="utf-8"))
    written = reference.calls()
    calls = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}
    assert set(re.findall(r"^## `([A-Z]+ /.*)`$", written, re.MULTILINE)) == calls
    assert set(re.findall(r"^### `(\w+)`$", written, re.MULTILINE)) == set(description["components"]["schemas"])


def test_what_a_page_would_request_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<a href="https://a.example">link</a><link rel="canonical" href="https://b.example">'
        '<script src="//c.example/x.js"></script><link href=https://d.example/f.css rel=stylesheet><img src="e.png">'
    )
    (tmp_path / "page.css").write_text("@font-face { src: url(https://f.example/i.woff2), url(fonts/i.woff2) }")
    assert offline.foreign_requests(tmp_path) == {
        "page.html: //c.example/x.js",
        "page.html: https://d.example/f.css",
        "page.css: https://f.example/i.woff2",
    }


def _below(kind: type[ModelyardError]) -> Iterator[type[ModelyardError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _commands(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path
    else:
        for name, child in below.items():
            yield from _commands(child, (*path, name))


def _sources() -> str:
    files = (path for path in Path(modelyard.__path__[0]).rglob("*.py") if path.name != "error_help.py")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)
