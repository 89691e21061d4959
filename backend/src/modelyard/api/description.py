"""The OpenAPI description of the API, completed with what FastAPI does not generate."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from modelyard.schemas.common import Problem
from modelyard.schemas.event import Event


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
        events = TypeAdapter(Event).json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        for name, schema in events.pop("$defs").items():
            schemas.setdefault(name, schema)
        schemas["Event"] = events
        schemas["Problem"] = Problem.model_json_schema(mode="serialization")
        for calls in described["paths"].values():
            for call in calls.values():
                _complete(call)
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
