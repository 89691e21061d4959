"""The endpoint that compares what two models write."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from modelyard.api.body_limit import MAX_TEXT_BYTES
from modelyard.api.deps import ComparisonsDep
from modelyard.api.event_stream import event_stream
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.waiting import last_result
from modelyard.core import errors
from modelyard.schemas import examples
from modelyard.schemas.compare import CompareRequest, CompareResponse, CompareStep
from modelyard.services.compare_service import ComparisonStep

router = APIRouter(tags=["models"], route_class=PlainTextRoute)

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": examples.COMPARE_STREAM}}}
}


@router.post(
    "/compare",
    summary="Compare two models",
    response_model=CompareResponse,
    responses=STREAMED
    | problems(
        errors.ModelNotFound,
        errors.NotReady,
        errors.Conflict,
        errors.ExtraMissing,
        errors.InvalidRepository,
        errors.NoTokenizer,
        errors.TemplateFailed,
        errors.ContextLengthExceeded,
        errors.UnsupportedParameter,
        errors.OutputNotFinite,
        errors.OutOfMemory,
        errors.UnsupportedArchitecture,
    ),
    max_body_size=MAX_TEXT_BYTES,
)
async def compare(request: CompareRequest, comparisons: ComparisonsDep, http: Request) -> Response:
    """Have two models write after the same prompt, and each read the other's text.

    Models that are not loaded are loaded, one after the other where they do not fit together. Closing the connection
    stops the work. Errors name the `side` they are about.
    """
    comparison = await asyncio.to_thread(comparisons.prepare, request)
    steps = comparisons.follow(comparison)
    if request.stream:
        return event_stream(_events(steps))
    result = await last_result(steps, http)
    # Thousands of tokens take a while to write; the event loop serves others meanwhile.
    return Response(await asyncio.to_thread(result.model_dump_json), media_type="application/json")


async def _events(steps: AsyncGenerator[ComparisonStep]) -> AsyncGenerator[Mapping[str, Any] | str | None]:
    """Yield each change of what is being done, then the result; an error ends the stream with its code."""
    sent = None
    async with aclosing(steps):
        try:
            async for step in steps:
                if step.result is not None:
                    body = await asyncio.to_thread(step.result.model_dump_json)
                    yield f'{{"done": true, "result": {body}}}'
                    return
                now = {"step": CompareStep(side=step.side, work=step.work, **vars(step.stage)).model_dump()}
                yield now if now != sent else None
                sent = now
        except errors.ModelyardError as error:
            yield {"done": True, "error": error.as_dict() | {"side": error.extra.get("side")}}
