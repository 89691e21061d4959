"""Compresses the API's answers for clients of other machines."""

import ipaddress

from starlette._utils import get_route_path  # what the router sees is what has to be judged
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

LEVEL = 4
"""Lists shrink to about a tenth; higher levels cost more than they save."""


class CompressionMiddleware(GZipMiddleware):
    """Compresses what is below `/api/` and `/v1/` where the client takes it, except for clients on this machine.

    Large answers are compressed in a thread, and streams of events not at all (Starlette). Must see the client's own
    address, so it comes after what takes that from a proxy's headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and get_route_path(scope).startswith(("/api/", "/v1/")) and not _is_here(scope):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_here(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address(scope["client"][0]).is_loopback
    except (TypeError, ValueError):  # no address, or a name that a test client gives
        return False
