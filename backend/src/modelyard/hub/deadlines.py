"""When a call to a Hub has to be over, however slowly the Hub answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ANSWER_SECONDS = 60.0
"""Of a whole call that somebody waits for, with every question that it asks."""

_end: ContextVar[float | None] = ContextVar("modelyard_hub_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is asked of a Hub in this context ends after so many seconds, or at an outer deadline before that."""
    end, outer = time.monotonic() + seconds, _end.get()
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


def seconds_left() -> float | None:
    """Return how long reading may go on, 0 or less where the time is up; None without a deadline."""
    end = _end.get()
    return None if end is None else end - time.monotonic()
