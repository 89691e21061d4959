"""Cookies: the session alone is read, and nothing that anybody sends takes long to read."""

import asyncio
import http.cookies
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.types import Message, Scope

from modelyard.api.public_address import OwnNames
from modelyard.api.security import SecurityMiddleware, session_token
from modelyard.api.wrong_keys import WrongKeys
from modelyard.core.settings import Settings

KEY = "correct horse battery staple"
SESSION = f"modelyard_session={session_token(KEY)}".encode()
QUADRATIC = b'modelyard_session="' + b"\\" * 60_000 + b'"'
"""Python 3.11.7 unquotes it in 20 seconds."""


def answer(path: str, *cookies: bytes) -> tuple[int, list[bytes]]:
    """Return the status, and which headers come as far as the endpoints."""
    seen: list[bytes] = []
    sent: list[Message] = []

    async def endpoint(scope: Scope, _receive: Any, send: Any) -> None:
        seen.extend(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        raise AssertionError("the body is read")

    async def send(message: Message) -> None:
        sent.append(message)

    settings = Settings(api_key=SecretStr(KEY))
    guarded = SecurityMiddleware(endpoint, settings, OwnNames(settings), WrongKeys())
    headers = [(b"host", b"localhost"), *((b"cookie", cookie) for cookie in cookies)]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": ("192.0.2.1", 9)}
    asyncio.run(guarded(scope, receive, send))
    return sent[0]["status"], seen


@pytest.mark.parametrize("cookies", [(SESSION,), (b"a=b; " + SESSION + b";c",), (b"a=b", SESSION)])
def test_a_session_opens_the_api(cookies: tuple[bytes, ...]) -> None:
    assert answer("/api/v1/models", *cookies) == (200, [b"host"])


@pytest.mark.parametrize(
    "cookie", [SESSION[:-1], b"x" + SESSION, b"modelyard_session", b"", b"\xff=;;=", SESSION + b"\xe9"]
)
def test_anything_else_does_not(cookie: bytes) -> None:
    assert answer("/api/v1/models", cookie)[0] == 401


@pytest.mark.parametrize("path", ["/api/v1/models", "/healthz", "/"])
def test_no_cookie_is_unquoted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither here nor by FastAPI, which parses the cookies of every request that has some."""

    def unquote(_value: str) -> str:
        raise AssertionError("cookies are unquoted")

    monkeypatch.setattr(http.cookies, "_unquote", unquote)
    status, headers = answer(path, QUADRATIC)
    assert status == (401 if path.startswith("/api") else 200)
    assert b"cookie" not in headers
