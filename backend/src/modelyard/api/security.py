"""Who may talk to this server: Host and Origin are checked, and the key where one is set.

A page of another site must not reach a server on this machine, neither by a cross-site request nor by a name that it
makes resolve to 127.0.0.1 (DNS rebinding); sockets are checked like requests.
"""

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelyard.api.problems import error_response
from modelyard.api.wrong_keys import WrongKeys
from modelyard.core.errors import ForbiddenOrigin, ModelyardError, TooManyAttempts, Unauthorized
from modelyard.core.settings import Settings
from modelyard.hub.answers import HubFailure
from modelyard.hub.server import INVALID_CREDENTIALS

COOKIE = "modelyard_session"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OPEN_PATHS = ("/healthz", "/readyz", "/api/v1/session")
_GUARDED_PREFIXES = ("/api/", "/hub", "/metrics", "/openapi.json")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def session_token(api_key: str) -> str:
    """What the cookie of a signed-in browser holds: proof of the key, not the key."""
    return hmac.new(api_key.encode(), b"modelyard session", hashlib.sha256).hexdigest()


class SecurityMiddleware:
    """Decides before a byte of a body is read. Plain ASGI, because it must see WebSocket connections too."""

    def __init__(self, app: ASGIApp, settings: Settings, wrong_keys: WrongKeys) -> None:
        self.app = app
        self.api_key = settings.api_key.get_secret_value() if settings.api_key else None
        self.hosts = _LOOPBACK | {settings.host.lower().strip("[]")}
        self.wrong_keys = wrong_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        error = self._refusal(scope)
        if error is None:
            await self.app(scope, receive, send)
        else:
            await _refusal_response(error, scope["path"])(scope, receive, send)

    def _refusal(self, scope: Scope) -> ModelyardError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # With a key, a name that resolves here gains nothing: the browser has no key for it.
        if self.api_key is None and _hostname(host) not in self.hosts:
            return ForbiddenOrigin(f"This server does not answer to the name {host!r}.")
        origin = headers.get("origin")
        changing = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changing and origin is not None and _netloc(origin) != host:
            return ForbiddenOrigin(f"A page of {origin} may not use this server.")
        if self.api_key is None or not self._guarded(scope["path"]) or self._has_key(headers):
            return None
        if headers.get("authorization"):
            return self.wrong_keys.note(scope["client"][0] if scope.get("client") else None)
        return Unauthorized("This server needs its key.")

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


def _refusal_response(error: ModelyardError, path: str) -> Response:
    """The error as its client reads it: in a Hub's form under `/hub`. A WebSocket is refused with the same answer."""
    problem = error_response(error)
    if not path.startswith("/hub") or not isinstance(error, Unauthorized | TooManyAttempts):
        return problem
    headers = {name: problem.headers[name] for name in ("WWW-Authenticate", "Retry-After") if name in problem.headers}
    message = INVALID_CREDENTIALS if isinstance(error, Unauthorized) else error.message
    return HubFailure(problem.status_code, message, headers=headers).as_response()


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
