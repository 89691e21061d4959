"""Limits of the size of request bodies.

FastAPI's `max_body_size` does the limiting: it refuses a larger `Content-Length` unread and counts the others as they
arrive. The router has `MAX_JSON_BYTES`; an endpoint that takes more says so in its decorator.
"""

import sys

from starlette.datastructures import Headers
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.api.problems import error_response, too_large

MAX_SIGN_IN_BYTES = 4_000
"""For the one endpoint that is read before a key is checked, because its body holds the key."""
MAX_JSON_BYTES = 1_000_000
MAX_TEXT_BYTES = 16_000_000
"""For endpoints that take texts, token ids or vectors."""
STREAMED = sys.maxsize
"""For endpoints that write the body to disk as it arrives, and limit it themselves."""


class PayloadTooLargeMiddleware:
    """Answers as every error of the API is answered where Starlette's limiter says 413 in plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def translated(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_plain_413(message):
                replaced = True
                await error_response(too_large(scope[MAX_BODY_SIZE_SCOPE_KEY]), scope)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self.app(scope, receive, translated)


def _is_plain_413(message: Message) -> bool:
    return message["status"] == 413 and Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
