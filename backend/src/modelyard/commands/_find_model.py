"""Resolve a model argument (id, name, name without owner, or id prefix) to one row."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelNotFound, ModelyardError

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse
    from modelyard.client.api_client import ApiClient


SUGGESTIONS = 3


class Ambiguous(ModelyardError):
    """Several rows fit; `candidates` in `extra`."""

    code = "ambiguous_model"


def find_row(client: "ApiClient", text: str, quantization: str | None = None) -> "ModelResponse":
    """Find the one row that a person means: by id or name, by the name without its owner, by the id's first letters.

    Each of these goes before the next. Raises ModelNotFound, Ambiguous.
    """
    rows = client.models()["items"]
    found = [row for row in rows if text in (row["id"], row["model_id"], row["canonical_id"])]
    found = found or [row for row in rows if text == row["model_id"].rpartition("/")[2]]
    found = found or [row for row in rows if row["id"].startswith(text.lower())]
    if not found:
        raise ModelNotFound(f"There is no model {text!r} here.", hint=_meant(text, rows))
    wanted = [row for row in found if quantization in (None, row["quantization"])]
    if not wanted:
        there = ", ".join(sorted({row["quantization"] for row in found}))
        raise ModelNotFound(f"{text} is here in precision {there}, not {quantization}.")
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
