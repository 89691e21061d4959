"""The addresses under which clients know this server, behind a reverse proxy or not."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modelyard.core.settings import Settings
from modelyard.hub.origins import origin_of

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PREFIX = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~-]+)+")
_PORT = re.compile(r"[0-9]{1,5}")


class OwnNames:
    """What this server is called: loopback, the address it listens on, and `MODELYARD_PUBLIC_URL`."""

    def __init__(self, settings: Settings) -> None:
        self.public_origin = origin_of(settings.public_url) if settings.public_url else None
        named = (*_LOOPBACK, settings.host, urlsplit(self.public_origin or "").hostname or "")
        self._hosts = {_hostname(f"[{name}]" if ":" in name else name) for name in named} - {""}

    def include_host(self, host: str) -> bool:
        """Return whether a `Host` header names this server."""
        return _hostname(host) in self._hosts

    def include_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of `origin` is this server's own, in a request for `host`.

        Spelling and default ports do not matter. Which scheme a proxy is asked with is not known everywhere, so that
        of the page counts for both.
        """
        page = origin_of(origin)
        if page is None:
            return False
        return page in (_origin(page.partition(":")[0], host), self.public_origin)


class PublicAddressMiddleware:
    """Restores the host, scheme and sub-path that the client asked a reverse proxy for.

    `MODELYARD_PUBLIC_URL` decides where it is set, otherwise `X-Forwarded-Host`, `-Port` and `-Prefix` of the listed
    proxies do. A sub-path becomes the scope's `root_path`, whether or not the proxy removed it from the path. Must see
    the proxy's own address, so it comes before what replaces that by the client's.
    """

    def __init__(self, app: ASGIApp, settings: Settings, names: OwnNames) -> None:
        self.app = app
        self._names = names
        self._has_key = settings.api_key is not None
        self._proxies = tuple(ipaddress.ip_network(network) for network in settings.trusted_proxies)
        self._public = urlsplit(settings.public_url) if settings.public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = self._as_asked(scope)
        await self.app(scope, receive, send)

    def _as_asked(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        proxied = self._comes_from_proxy(scope)
        if self._public is not None:
            return self._as_public(scope, headers, proxied)
        if not proxied:
            return scope
        host, prefix = _forwarded_host(headers), headers.get("x-forwarded-prefix", "").rstrip("/")
        # Without a key, the names are what keeps other sites' pages out, also where a proxy passes on what they sent.
        if host and (self._has_key or self._names.include_host(headers.get("host", ""))):
            scope = _replaced(scope, host)
        return _below(scope, prefix, stripped=True) if _PREFIX.fullmatch(prefix) else scope

    def _as_public(self, scope: Scope, headers: Headers, proxied: bool) -> Scope:
        assert self._public is not None  # noqa: S101 - the caller has looked
        public, secure = self._public, self._public.scheme == "https"
        proxied = proxied or _origin(public.scheme, headers.get("host", "")) == self._names.public_origin
        if proxied:
            web, socket = ("https", "wss") if secure else ("http", "ws")
            scope = _replaced(scope, public.netloc, drop=b"x-forwarded-proto")
            scope["scheme"] = socket if scope["type"] == "websocket" else web
        return _below(scope, public.path, stripped=proxied) if public.path else scope

    def _comes_from_proxy(self, scope: Scope) -> bool:
        try:
            address = ipaddress.ip_address(scope["client"][0])
        except (TypeError, ValueError):  # no address at all, or none in numbers
            return False
        return any(address in network for network in self._proxies)


def _replaced(scope: Scope, host: str, drop: bytes = b"") -> Scope:
    kept: Iterable[tuple[bytes, bytes]] = scope["headers"]
    headers = [(name, value) for name, value in kept if name not in (b"host", drop)]
    return dict(scope) | {"headers": [(b"host", host.encode("latin-1")), *headers]}


def _below(scope: Scope, prefix: str, *, stripped: bool) -> Scope:
    """Return the request as one below `prefix`; with `stripped`, also if its path does not begin with it."""
    path, raw = scope["path"], scope.get("raw_path") or b""
    if path == prefix:
        path += "/"
    elif not path.startswith(f"{prefix}/"):
        if not stripped:
            return scope
        path, raw = prefix + path, prefix.encode() + raw
    return dict(scope) | {"root_path": prefix, "path": path, "raw_path": raw}


def _forwarded_host(headers: Headers) -> str | None:
    """Return the host that the nearest proxy was asked for, with its port if the headers have it."""
    host = _last(headers, "x-forwarded-host")
    port = _last(headers, "x-forwarded-port")
    if host and _PORT.fullmatch(port) and origin_of(f"http://{host}:{port}"):
        host = f"{host}:{port}"  # it had none of its own
    return host if _hostname(host) else None


def _last(headers: Headers, name: str) -> str:
    """Return what the nearest proxy added; before it stands what it was sent itself."""
    return ",".join(headers.getlist(name)).rpartition(",")[2].strip()


def _origin(scheme: str, host: str) -> str | None:
    return None if set(host) & set("/\\?#@") else origin_of(f"{scheme}://{host}")


def _hostname(host: str) -> str:
    return urlsplit(_origin("http", host) or "").hostname or ""
