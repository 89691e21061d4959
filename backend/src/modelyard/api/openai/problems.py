"""What the description says of errors under `/v1`."""

from http import HTTPStatus
from typing import Any

from modelyard.api import problems
from modelyard.api.openai.form import openai_body, status_of
from modelyard.core import errors
from modelyard.schemas import examples

_EVERYWHERE: tuple[type[errors.ModelyardError], ...] = (
    errors.Unauthorized,
    errors.ForbiddenOrigin,
    errors.TooManyAttempts,
    errors.DatabaseUnavailable,
    errors.DatabaseDamaged,
    errors.DiskFull,
    errors.StorageDenied,
)


def openai_problems(*kinds: type[errors.ModelyardError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a call under `/v1` that can fail in these ways."""
    found: dict[int, dict[str, type[errors.ModelyardError]]] = {}
    for kind in (*_EVERYWHERE, *kinds):
        found.setdefault(status_of(problems.status_of(kind), kind.code), {})[kind.code] = kind
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: " + ", ".join(f"`{code}`" for code in named),
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/OpenAIError"},
                    "examples": {code: {"value": _example(status, kind)} for code, kind in named.items()},
                }
            },
        }
        for status, named in found.items()
    }


def _example(status: int, kind: type[errors.ModelyardError]) -> dict[str, Any]:
    shown = {"hint": kind.default_hint} | examples.PROBLEMS[kind.code]
    return openai_body(status, kind.code, shown["detail"], shown["hint"], shown.get("param"))
