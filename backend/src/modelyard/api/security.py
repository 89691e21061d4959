"""Who may talk to this server: Host and Origin are checked, and the key where one is set.

A page of another site must not reach a server on this machine, neither by a cross-site request nor by a name that it
makes resolve to 127.0.0.1 (DNS rebinding); sockets are checked like requests.
"""

import hashlib
import hmac

from starlette._utils import get_route_path  # what the router sees is what has to be judged
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelyard.api.problems import error_response
from modelyard.api.public_address import OwnNames
from modelyard.api.wrong_keys import WrongKeys
from modelyard.core.errors import ForbiddenOrigin, ModelyardError, TooManyAttempts, Unauthorized
from modelyard.core.settings import Settings
from modelyard.hub.server.app import INVALID_CREDENTIALS
from modelyard.hub.server.responses import HubFailure

COOKIE = "modelyard_session"
_OPEN_PATHS = ("/healthz", "/readyz", "/api/v1/session")
_GUARDED_PREFIXES = ("/api/", "/v1/", "/hub", "/metrics", "/openapi.json")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def session_token(api_key: str) -> str:
    """Return what the cookie of a signed-in browser holds: proof of the key, not the key."""
    return hmac.new(api_key.encode(), b"modelyard session", hashlib.sha256).hexdigest()


class SecurityMiddleware:
    """Decides before a byte of a body is read. Plain ASGI, because it must see WebSocket connections too."""

    def __init__(self, app: ASGIApp, settings: Settings, names: OwnNames, wrong_keys: WrongKeys) -> None:
        self.app = app
        self.api_key = settings.api_key.get_secret_value() if settings.api_key else None
        self.local_url = settings.local_url
        self.names = names
        self.wrong_keys = wrong_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        error = self._refusal(scope)
        if error is None:
            await self.app(_without_cookies(scope), receive, send)
        else:
            await _refusal_response(error, scope)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ModelyardError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # With a key, a name that resolves here gains nothing: the browser has no key for it.
        if self.api_key is None and not self.names.include_host(host):
            return ForbiddenOrigin(
                f"This server does not answer to the name {host!a}.",
                hint=f"Open {self.local_url}, or set MODELYARD_PUBLIC_URL to the address that people open, or set"
                " MODELYARD_API_KEY; then restart the server.",
            )
        origin = headers.get("origin")
        changing = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changing and origin is not None and not self.names.include_origin(origin, host):
            return ForbiddenOrigin(
                f"A page of {origin!a} may not use this server, which was asked for as {host!a}.",
                hint="If it is this server's own page behind a reverse proxy, set MODELYARD_PUBLIC_URL to the address"
                " in the browser and restart the server, or have the proxy pass on the Host header with its port.",
            )
        if self.api_key is None or not self._guarded(get_route_path(scope)) or self._has_key(headers):
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
        session = _session_of(headers)
        return session is not None and hmac.compare_digest(session.encode(), session_token(key).encode())


def _session_of(headers: Headers) -> str | None:
    """Return the session's cookie, whose value needs no quotes.

    `http.cookies` unquotes each value in quadratic time in some versions of Python: 60 kB of backslashes take seconds,
    for which nobody else is answered.
    """
    pairs = (pair.strip().partition("=") for header in headers.getlist("cookie") for pair in header.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), None)


def _without_cookies(scope: Scope) -> Scope:
    """Only the session counts and only here, but FastAPI parses what cookies there are for every endpoint."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"cookie"]}


def _refusal_response(error: ModelyardError, scope: Scope) -> Response:
    """Return the error as its client reads it: in a Hub's form under `/hub`, in OpenAI's under `/v1`.

    A WebSocket is refused with the same answer.
    """
    problem = error_response(error, scope)
    if not get_route_path(scope).startswith("/hub") or not isinstance(error, Unauthorized | TooManyAttempts):
        return problem
    headers = {name: problem.headers[name] for name in ("WWW-Authenticate", "Retry-After") if name in problem.headers}
    message = INVALID_CREDENTIALS if isinstance(error, Unauthorized) else error.message
    return HubFailure(problem.status_code, message, headers=headers).as_response()
