"""Server-sent events in the answer of a call that streams on request."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

KEEPALIVE_SECONDS = 15.0
"""After so long without an event a comment is sent, because a proxy closes a connection that is silent for a minute."""

# What FastAPI sends with the events of an endpoint that always streams. nginx would collect them otherwise.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


Event = Mapping[str, Any] | str
"""A JSON object, or a word that is sent as it is."""


def event_stream(events: AsyncGenerator[Event | None]) -> EventSourceResponse:
    """Answer with events; None says that there is nothing new.

    Closes the generator when the client has gone.
    """
    return EventSourceResponse(_encoded(events), headers=_HEADERS)


async def _encoded(events: AsyncGenerator[Event | None]) -> AsyncIterator[bytes]:
    sent_at = time.monotonic()
    async with aclosing(events):
        async for event in events:
            if event is not None:
                yield format_sse_event(data_str=event if isinstance(event, str) else json.dumps(event))
            elif time.monotonic() - sent_at >= KEEPALIVE_SECONDS:
                yield KEEPALIVE_COMMENT
            else:
                continue
            sent_at = time.monotonic()
