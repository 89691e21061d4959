"""Limits of what a Hub may answer, for the HTTP client that huggingface_hub and ours share in this process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import httpx2
from huggingface_hub.utils import set_client_factory

from modelyard.core.errors import HubMisbehaved, HubUnreachable
from modelyard.hub._hf_private import hf_request_event_hook
from modelyard.hub.connections import HubTransport
from modelyard.hub.origins import keep_token_with_its_hub

METADATA_TIMEOUT_SECONDS = 10.0
MAX_ANSWER_SECONDS = 60.0
MAX_ANSWER_BYTES = 20_000_000

_limit_bytes: ContextVar[int] = ContextVar("limit_bytes", default=MAX_ANSWER_BYTES)


@contextmanager
def taking(limit_bytes: int) -> Iterator[None]:
    """Accept answers of up to `limit_bytes` in this context, for files that may be as large."""
    token = _limit_bytes.set(limit_bytes)
    try:
        yield
    finally:
        _limit_bytes.reset(token)


class _CappedStream(httpx2.SyncByteStream):
    """An answer's stream that raises if the answer is too large or too slow."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream
        self._end = time.monotonic() + MAX_ANSWER_SECONDS
        self._limit_bytes = _limit_bytes.get()

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        for chunk in self._stream:
            seen += len(chunk)
            if seen > self._limit_bytes:
                raise HubMisbehaved(f"The Hub sent an answer of more than {self._limit_bytes} bytes.")
            if time.monotonic() > self._end:
                raise HubUnreachable(f"The Hub did not finish its answer within {MAX_ANSWER_SECONDS:.0f} seconds.")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _cap_answer(response: httpx2.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # Not asked for, and a few bytes of it may unfold to fill the memory.
        raise HubMisbehaved("The Hub compressed an answer it was asked to send as it is.")
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _CappedStream(response.stream)


@cache
def limit_answers() -> None:
    """Limit the answers of every Hub in this process, so that a hostile one cannot fill its memory.

    File contents do not come this way.
    """

    def factory() -> httpx2.Client:
        return httpx2.Client(
            event_hooks={"request": [hf_request_event_hook, keep_token_with_its_hub], "response": [_cap_answer]},
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=METADATA_TIMEOUT_SECONDS,
            transport=HubTransport(),
        )

    set_client_factory(factory)
