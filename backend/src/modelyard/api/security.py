"""Who may talk to this server: Host and Origin are checked, and the key where one is set.

A page of another site must not reach a server on this machine, neither by a cross-site request nor by a name that it
makes resolve to 127.0.0.1 (DNS rebinding); sockets are checked like requests.
"""

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modelyard.api.problems import error_response
from modelyard.core.errors import ForbiddenOrigin, ModelyardError, Unauthorized
from modelyard.core.settings import Settings

COOKIE = "modelyard_session"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OPEN_PATHS = ("/healthz", "/readyz", "/api/v1/session")
_GUARDED_PREFIXES = ("/api/", "/metrics", "/openapi.json")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def session_token(api_key: str) -> str:
    """What the cookie of a signed-in browser holds: proof of the key, not the key."""
    return hmac.new(api_key.encode(), b"modelyard session", hashlib.sha256).hexdigest()


class SecurityMiddleware:
    """Plain ASGI, because it must see WebSocket connections too. `/hub` checks the key itself, as a Hub does."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.api_key = settings.api_key.get_secret_value() if settings.api_key else None
        self.hosts = _LOOPBACK | {settings.host.lower().strip("[]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        error = self._refusal(scope)
        if error is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await error_response(error)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4401 if isinstance(error, Unauthorized) else 4403})

    def _refusal(self, scope: Scope) -> ModelyardError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # With a key, a name that resolves here gains nothing: the browser has no key for it.
        if self.api_key is None and (urlsplit(f"//{host}").hostname or "") not in self.hosts:
            return ForbiddenOrigin(f"This server does not answer to the name {host!r}.")
        origin = headers.get("origin")
        changing = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changing and origin is not None and urlsplit(origin).netloc != host:
            return ForbiddenOrigin(f"A page of {origin} may not use this server.")
        if self.api_key is not None and self._guarded(scope["path"]) and not self._has_key(headers):
            return Unauthorized("This server needs its key.")
        return None

    def _guarded(self, path: str) -> bool:
        return path.startswith(_GUARDED_PREFIXES) and path not in _OPEN_PATHS

    def _has_key(self, headers: Headers) -> bool:
        key = self.api_key or ""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), session_token(key).encode())
