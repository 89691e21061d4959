"""Resolve a model argument (id, name, name without owner, or id prefix) to one row."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelNotFound, ModelyardError
from modelyard.core.model_ids import HF_SCHEME, names_version

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse
    from modelyard.client.api_client import ApiClient


SUGGESTIONS = 3


class Ambiguous(ModelyardError):
    """Several rows fit; `candidates` in `extra`."""

    code = "ambiguous_model"


def find_row(
    client: "ApiClient", text: str, quantization: str | None = None, *, unfinished: bool = False
) -> "ModelResponse":
    """Find the one row that a person means: by id or name, by the name without its owner, by the id's first letters.

    Each of these goes before the next. Of several versions, a name means the one in use, and name@commit or
    name@branch another one; with `unfinished`, one that is on its way goes before. Raises ModelNotFound, Ambiguous.
    """
    rows = client.models()["items"]
    wanted = _in_use(_named(rows, text, quantization), unfinished=unfinished)
    if len(wanted) > 1:
        lines = [f"{row['id'][:12]}  {describe(row)} ({row['status']})" for row in wanted]
        raise Ambiguous(
            f"{text} may mean {len(wanted)} models:\n  " + "\n  ".join(lines),
            hint="Give the owner too where the names differ, --quantization where the precisions do, or the id.",
            candidates=[
                {
                    "id": row["id"],
                    "model_id": row["model_id"],
                    "quantization": row["quantization"],
                    "commit": row["commit"],
                }
                for row in wanted
            ],
        )
    return wanted[0]


def find_versions_in_use(client: "ApiClient", text: str, quantization: str | None = None) -> "list[ModelResponse]":
    """Find the versions in use that a person means, in every precision. Raises ModelNotFound."""
    return _in_use(_named(client.models()["items"], text, quantization))


def _named(rows: "Sequence[ModelResponse]", text: str, quantization: str | None) -> "list[ModelResponse]":
    """Return the rows that a name or an id means. Raises ModelNotFound."""
    name, _, revision = text.removeprefix(HF_SCHEME).partition("@")
    found = [row for row in rows if name in (row["id"], row["model_id"], row["canonical_id"])]
    found = found or [row for row in rows if name == row["model_id"].rpartition("/")[2]]
    found = found or [row for row in rows if row["id"].startswith(name.lower())]
    if not found:
        raise ModelNotFound(f"There is no model {name!r} here.", hint=_meant(name, rows))
    if revision:
        there = ", ".join(sorted({f"{row['revision']} ({row['commit'][:12]})" for row in found}))
        found = [row for row in found if names_version(revision, row["revision"], row["commit"])]
        if not found:
            raise ModelNotFound(f"{name} is here at {there}, not at {revision}.")
    wanted = [row for row in found if quantization in (None, row["quantization"])]
    if not wanted:
        there = ", ".join(sorted({row["quantization"] for row in found}))
        raise ModelNotFound(f"{name} is here in precision {there}, not {quantization}.")
    return wanted


def _in_use(rows: "list[ModelResponse]", *, unfinished: bool = False) -> "list[ModelResponse]":
    """Leave out rows in whose place another of these rows is used."""
    ids = {row["id"] for row in rows}
    rows = [row for row in rows if row.get("replaced_by") not in ids]
    kept = []
    for row in rows:
        others = [other for other in rows if other["id"] != row["id"] and _branch(other) == _branch(row)]
        preferred = (row["status"] == "ready") is not unfinished
        if preferred or not any((other["status"] == "ready") is not unfinished for other in others):
            kept.append(row)
    return kept


def _branch(row: "ModelResponse") -> tuple[str | None, ...]:
    return row["model_id"], row.get("revision"), row["quantization"], row.get("gguf_file")


def _meant(text: str, rows: "Sequence[ModelResponse]") -> str:
    """Suggest what to do where no row fits: names that are like it."""
    names = sorted({row["model_id"] for row in rows})
    wanted = text.lower()
    close = [name for name in names if wanted in name.lower()] if wanted else []
    close = close or get_close_matches(text, names, SUGGESTIONS)
    if not close:
        return str(ModelNotFound.default_hint)
    return f"Did you mean {' or '.join(close[:SUGGESTIONS])}? {ModelNotFound.default_hint}"


def describe(row: "ModelResponse") -> str:
    """Qwen/Qwen3-0.6B, 4bit, commit c1899de2."""
    precision = "" if row["quantization"] == "none" else f", {row['quantization']}"
    return f"{row['model_id']}{precision}, commit {row['commit'][:8]}"
