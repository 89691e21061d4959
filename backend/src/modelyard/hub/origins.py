"""The Hub that a request is for: scheme, host and port in one spelling, and how private its address is."""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

import httpx2

from modelyard.hub.addresses import Reach, named_reach, reach_of

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]+")


def origin_of(url: str) -> str | None:
    """Return `scheme://host[:port]` of an address, None if it has no valid host.

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


class AskedHub:
    """The Hub that a call or a download is for, and how private its address is. Thread-safe."""

    def __init__(self, endpoint: str) -> None:
        self.origin = origin_of(endpoint)
        self._reach: Reach | None = None

    def limit(self) -> Reach:
        """Return how private an address the next request may reach.

        Before the Hub has answered, nobody but the user can have named an address. After that, also its own name must
        not lead to a more private one.
        """
        return Reach.LOOPBACK if self._reach is None else self._reach

    def answered(self, url: str, address: str | None) -> None:
        """Note the address that answered a request to `url`; None where a proxy spoke to it."""
        if origin_of(url) != self.origin:
            return
        reach = named_reach(urlsplit(url).hostname or "") if address is None else reach_of(address)
        self._reach = reach if self._reach is None else min(self._reach, reach)


_asked: ContextVar[AskedHub | None] = ContextVar("modelyard_asked_hub", default=None)


def asked_hub() -> AskedHub | None:
    """Return the Hub that this thread's requests are for."""
    return _asked.get()


@contextmanager
def asking(hub: AskedHub) -> Iterator[None]:
    """Mark the requests of this thread in this context as made for that Hub, wherever it redirects them."""
    token = _asked.set(hub)
    try:
        yield
    finally:
        _asked.reset(token)


def keep_token_with_its_hub(request: httpx2.Request) -> None:
    """Take the token out of a request that a Hub redirected to another origin.

    An HTTP client keeps it on the way from http to https, and huggingface_hub on the way to huggingface.co.
    """
    hub = _asked.get()
    if hub is not None and origin_of(str(request.url)) != hub.origin:
        request.headers.pop("Authorization", None)
