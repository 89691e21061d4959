"""Deadlines of calls to a Hub, which hold however slowly it answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ANSWER_SECONDS = 60.0
"""Of a whole call that somebody waits for, with every question that it asks."""

_end: ContextVar[float | None] = ContextVar("modelyard_hub_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """End all requests to a Hub in this context after `seconds`, or at an earlier outer deadline."""
    end, outer = time.monotonic() + seconds, _end.get()
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


def seconds_left() -> float | None:
    """Return the seconds until the deadline, 0 or less if it has passed, None if there is none."""
    end = _end.get()
    return None if end is None else end - time.monotonic()
