"""The OpenAPI description of the API, completed with what FastAPI does not generate."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from modelyard.api.openai.form import PREFIX
from modelyard.schemas.common import Problem
from modelyard.schemas.event import Event
from modelyard.schemas.openai import OpenAIError


def describe(app: FastAPI) -> dict[str, Any]:
    """Return OpenAPI 3.1 whose components also hold the problem document and every message of the WebSocket.

    With the messages among the components, one generator makes the page's types for both.
    """
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            license_info=app.license_info,
            routes=app.routes,
        )
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        more: dict[str, Any] = {"Event": Event, "Problem": Problem, "OpenAIError": OpenAIError}
        for name, kind in more.items():
            schema = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
            for part, of in schema.pop("$defs", {}).items():
                schemas.setdefault(part, of)
            schemas[name] = schema
        for path, calls in described["paths"].items():
            for call in calls.values():
                _complete(call)
                if path.startswith(PREFIX):
                    call["responses"].pop("422", None)
        # FastAPI's own answer to an invalid request, which no call gives: it is a problem, or below /v1 an OpenAIError.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = described
    return app.openapi_schema


def _complete(call: dict[str, Any]) -> None:
    """Add defaults of parameters, and remove the 422 of requests that have nothing to validate."""
    for parameter in call.get("parameters", ()):
        schema = parameter["schema"]
        if "examples" not in schema and "default" in schema:
            parameter["example"] = schema["default"]
    if not call.get("parameters") and "requestBody" not in call:
        call["responses"].pop("422", None)
    if "requestBody" not in call:
        call["responses"].pop("413", None)
