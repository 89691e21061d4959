"""Requests hold text that can be stored, and numbers that JSON has; others are refused before an endpoint sees them.

U+0000 is in no name, path or prompt, but it is cut off by C, refused by files and by PostgreSQL. Half of a surrogate
pair is no character. NaN, Infinity and numbers too large to be told from it are no JSON.
"""

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from anyio import to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from modelyard.api.problems import error_response
from modelyard.core.errors import InvalidRequest
from modelyard.hub.server.responses import HubFailure

MAX_DIGITS = 400
"""Of a number in a body. The largest float has 309."""
LARGE_BODY_BYTES = 100_000
"""Larger ones take longer to read than the event loop may stand still."""

_ESCAPED = re.compile(rb"\\u(0000|d[89a-f])", re.IGNORECASE)
_ODD = re.compile("[\0\ud800-\udfff]")
_NUL_HINT = "Remove the character U+0000 (%00) from it."


class PlainTextMiddleware:
    """Refuses addresses with U+0000 in their path or query. What is no UTF-8 there is replaced by U+FFFD already."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"\0" in unquote_to_bytes(scope["query_string"])):
            await _refusal(scope)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class PlainTextRoute(APIRoute):
    """A route whose JSON body holds no U+0000, no half of a surrogate pair and only finite numbers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        return _read(body) if len(body) < LARGE_BODY_BYTES else await to_thread.run_sync(_read, body)


def _read(body: bytes) -> Any:
    value = json.loads(body, parse_constant=_no_number, parse_float=_float, parse_int=_int)
    # Written unescaped, neither is JSON in UTF-8.
    if _ESCAPED.search(body) and _holds_odd_text(value):
        raise HTTPException(422, "The body holds a text with U+0000 or with half of a surrogate pair.")
    return value


def _no_number(constant: str) -> NoReturn:
    raise HTTPException(422, f"The body holds {constant}, which is not a number in JSON.")


def _float(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number("a number that is too large")


def _int(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_DIGITS else _no_number("a number that is too large")


def _holds_odd_text(value: Any) -> bool:
    if isinstance(value, str):
        return _ODD.search(value) is not None
    if isinstance(value, dict):
        return any(_holds_odd_text(key) or _holds_odd_text(inner) for key, inner in value.items())
    return isinstance(value, list) and any(_holds_odd_text(inner) for inner in value)


def _refusal(scope: Scope) -> Response:
    """Return the error as its client reads it: in a Hub's form under `/hub`, in OpenAI's under `/v1`."""
    message = "The address holds the character U+0000, which no name has."
    if get_route_path(scope).startswith("/hub"):
        return HubFailure(404, message).as_response()
    return error_response(InvalidRequest(message, hint=_NUL_HINT), scope)
