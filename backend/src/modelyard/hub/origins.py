"""Which Hub a request is for: an endpoint's scheme, host and port in one spelling."""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]+")

_asked: ContextVar[str | None] = ContextVar("modelyard_asked_origin", default=None)


def origin_of(url: str) -> str | None:
    """Return `scheme://host[:port]` of an address, or None where it names no host that can be asked.

    Two addresses have the same origin only if requests to both reach the same port of the same host in the same way:
    case, a default port, a trailing dot, the spelling of an IPv6 address and of an international name do not matter.
    """
    try:
        parts = httpx2.URL(url)
        host = parts.raw_host.decode("ascii").lower()
    except (httpx2.InvalidURL, UnicodeError):
        return None
    if parts.scheme not in _PORTS or parts.userinfo or "%" in host:
        return None
    if ":" in host:
        try:
            host = f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            return None
    else:
        host = host.removesuffix(".")
        if not _HOST.fullmatch(host):
            return None
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    if not 0 < port < 65536:
        return None
    return f"{parts.scheme}://{host}" + ("" if port == _PORTS[parts.scheme] else f":{port}")


@contextmanager
def asking(endpoint: str) -> Iterator[None]:
    """Requests of this thread are for the Hub at `endpoint` while this lasts, wherever it redirects them."""
    token = _asked.set(origin_of(endpoint))
    try:
        yield
    finally:
        _asked.reset(token)


def keep_token_with_its_hub(request: httpx2.Request) -> None:
    """Take the token out of a request that a Hub redirected to another origin.

    An HTTP client keeps it on the way from http to https, and huggingface_hub on the way to huggingface.co.
    """
    hub = _asked.get()
    if hub is not None and origin_of(str(request.url)) != hub:
        request.headers.pop("Authorization", None)
