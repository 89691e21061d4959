"""Streamed answers of `/v1`, as OpenAI's clients read them."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import Request, Response

from modelyard.api import event_stream
from modelyard.api.openai.form import openai_body, status_of
from modelyard.api.problems import status_of as problem_status_of
from modelyard.core import errors
from modelyard.services.inference.inference_service import Generation
from modelyard.services.openai.openai_service import StartedAnswer
from modelyard.services.openai.stream import stream_chunks

DONE = "[DONE]"

Chunks = AsyncGenerator[dict[str, Any] | None]


async def streamed(
    started: StartedAnswer, steps: AsyncGenerator[Generation], http: Request, *, include_usage: bool
) -> Response:
    """Answer with the chunks of a generation.

    Waits for the first one, so that an error before it, such as a model that does not fit, has a status of its own; but
    not longer than a connection may be silent. Raises such an error, and Conflict when the client has gone.
    """
    chunks = stream_chunks(steps, started.heading, started.form, started.n, include_usage=include_usage)
    begun = time.monotonic()
    first = None
    try:
        async for first in chunks:
            if first is not None or time.monotonic() - begun >= event_stream.KEEPALIVE_SECONDS:
                break
            if await http.is_disconnected():
                raise errors.Conflict("The client has gone.", hint="Ask again.")
    except BaseException:
        await chunks.aclose()
        raise
    return event_stream.event_stream(_events(first, chunks))


async def _events(first: dict[str, Any] | None, chunks: Chunks) -> AsyncGenerator[Mapping[str, Any] | str | None]:
    async with aclosing(chunks):
        try:
            yield first
            async for chunk in chunks:
                yield chunk
        except errors.ModelyardError as error:
            status = status_of(problem_status_of(error), error.code)
            yield openai_body(status, error.code, error.message, error.hint, error.extra.get("param"))
        yield DONE
