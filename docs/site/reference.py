"""The reference pages that are made from the code: every command, call and setting.

`docs/errors.md` is made by `make types` instead, because other pages link to it where nothing is built.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.cli import get_docs_for_click

from modelyard import cli
from modelyard.api.problems import MEDIA_TYPE
from modelyard.core.settings import Settings
from modelyard.main import create_app
from modelyard.openapi import type_of

METHODS = ("get", "post", "put", "patch", "delete")


def commands() -> str:
    """Return every command with its arguments and options, as typer writes them."""
    root = typer.main.get_command(cli.app)
    return get_docs_for_click(obj=root, ctx=typer.Context(root), name="modelyard", title="Every command and option")


def settings() -> str:
    """Return a table of the `MODELYARD_*` variables."""
    lines = ["# Settings", "", "Environment variables of the server, its workers and the command line.", ""]
    lines += ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() or field.default_factory or field.default in (None, ()) else field.default
        lines.append(
            _row(f"`MODELYARD_{name.upper()}`", f"`{default}`" if default != "" else "", field.description or "")
        )
    lines += [
        "",
        "`HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and the proxy variables have their"
        " usual meaning. What can be changed while the server runs is in *Settings* of the page and in"
        " [`PUT /api/v1/settings`](calls.md).",
    ]
    return "\n".join(lines) + "\n"


def calls() -> str:
    """Return every call of the API with its parameters, bodies and errors."""
    description = create_app().openapi()
    all_calls = [call for methods in description["paths"].values() for call in methods.values()]
    common = set.intersection(*(_codes(call) for call in all_calls if _codes(call)))
    lines = [
        "# Every call",
        "",
        "As the server describes them at `/docs` and in `/openapi.json`. Any call may also answer",
    ]
    lines += [f"{', '.join(map(_link, sorted(common)))}."]
    for path, methods in sorted(description["paths"].items()):
        for method in METHODS:
            if method in methods:
                lines += ["", f"## `{method.upper()} {path}`", "", *_call(methods[method], common)]
    lines += ["", "## Schemas", "", "The objects that bodies and answers are made of."]
    for name, schema in sorted(description["components"]["schemas"].items()):
        lines += ["", f"### `{name}`", "", *_schema(schema)]
    return "\n".join(lines) + "\n"


def _call(call: Mapping[str, Any], common: set[str]) -> Iterator[str]:
    yield call.get("description") or call.get("summary", "")
    if parameters := call.get("parameters"):
        yield from ("", "| parameter | in | type | |", "|---|---|---|---|")
        for item in parameters:
            text = item.get("description", "") + (" Required." if item.get("required") and item["in"] != "path" else "")
            yield _row(f"`{item['name']}`", item["in"], _code(item["schema"]), text)
    for kind, body in call.get("requestBody", {}).get("content", {}).items():
        yield from ("", f"Body: {_code(body.get('schema', {}))} (`{kind}`)")
    yield ""
    for status, answer in call["responses"].items():
        contents = answer.get("content", {})
        if int(status) < 400:
            bodies = ", ".join(f"{_code(body.get('schema', {}))} (`{kind}`)" for kind, body in contents.items())
            yield f"* {status}: {bodies or answer['description']}"
        else:
            named = {code for body in contents.values() for code in body.get("examples", {})} - common
            if named:
                yield f"* {status}: {', '.join(map(_link, sorted(named)))}"


def _codes(call: Mapping[str, Any]) -> set[str]:
    bodies = [body for answer in call["responses"].values() for body in answer.get("content", {}).items()]
    return {code for kind, body in bodies if kind == MEDIA_TYPE for code in body.get("examples", {})}


def _link(code: str) -> str:
    return f"[`{code}`](../errors.md#{code})"


def _schema(schema: Mapping[str, Any]) -> Iterator[str]:
    yield schema.get("description", "")
    if properties := schema.get("properties"):
        yield from ("", "| field | type | |", "|---|---|---|")
        for name, of in properties.items():
            yield _row(f"`{name}`", _code(of), of.get("description", ""))
    else:
        yield from ("", _code(schema))


def _code(schema: Any) -> str:
    return f"`{type_of(schema)}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
