"""Models in memory: loading, unloading, generating text."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request

from modelyard.api.body_limit import MAX_TEXT_BYTES
from modelyard.api.deps import InferenceDep, RowAnswerDep
from modelyard.api.event_stream import event_stream
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.v1.endpoints._common import ACCEPTED, RowId
from modelyard.core import errors
from modelyard.schemas import examples
from modelyard.schemas.inference import DriftRequest, GenerateRequest, GenerateResponse, LoadedPage, LoadRequest
from modelyard.schemas.model import Drift, ModelResponse
from modelyard.services.inference.inference_service import Generation, InferenceService

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": examples.GENERATE_STREAM}}}
}


@router.get("/loaded", summary="Loaded models")
def list_loaded(inference: InferenceDep) -> LoadedPage:
    """What is in memory now, where, since when, and what came back at the last unload."""
    return inference.list_loaded()


@router.post(
    "/{id}/load",
    status_code=202,
    summary="Load",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.NotReady),
)
def load_model(row_id: RowId, request: LoadRequest, inference: InferenceDep, answer: RowAnswerDep) -> ModelResponse:
    """Have a model in the memory of an inference worker; `loaded` tells when it is, `error` why it could not be.

    Until then `progress` tells what the load does or waits for; unload or cancel takes it back.
    """
    inference.start_load(row_id, request)
    return answer(row_id)


@router.post(
    "/{id}/unload",
    status_code=202,
    summary="Unload",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
)
def unload_model(row_id: RowId, inference: InferenceDep, answer: RowAnswerDep) -> ModelResponse:
    """Free a model's memory; what came back is measured and told by `GET /models/loaded` at its next load.

    Of a model that is still being loaded, the last request for it is taken back; a load that others asked for goes on.
    """
    inference.start_unload(row_id)
    return answer(row_id)


@router.post(
    "/{id}/generate",
    summary="Generate text",
    response_model=GenerateResponse,
    responses=STREAMED
    | problems(
        errors.ModelNotFound,
        errors.NotReady,
        errors.InvalidRepository,
        errors.NoTokenizer,
        errors.TemplateFailed,
        errors.OutputNotFinite,
        errors.OutOfMemory,
        errors.UnsupportedArchitecture,
    ),
    max_body_size=MAX_TEXT_BYTES,
)
async def generate(row_id: RowId, request: GenerateRequest, inference: InferenceDep, http: Request) -> Any:
    """Continue a prompt, or answer messages with the chat template; closing the connection stops it."""
    job_id = await asyncio.to_thread(inference.start_generate, row_id, request)
    if request.stream:
        return event_stream(_events(inference.follow(job_id)))
    return GenerateResponse.model_validate(await _result(inference, job_id, http), extra="ignore")


@router.post(
    "/{id}/drift",
    summary="Drift on a text",
    responses=problems(
        errors.ModelNotFound,
        errors.NotReady,
        errors.Conflict,
        errors.InvalidRepository,
        errors.NoTokenizer,
        errors.TemplateFailed,
        errors.OutOfMemory,
        errors.UnsupportedArchitecture,
    ),
    max_body_size=MAX_TEXT_BYTES,
)
async def measure_drift(row_id: RowId, request: DriftRequest, inference: InferenceDep, http: Request) -> Drift:
    """Compare a quantized copy with its original on a text; both are loaded for it, one after the other.

    Closing the connection stops it. `drift` of the model is the same on the prompts that were used when it was made.
    """
    job_id = await asyncio.to_thread(inference.start_drift, row_id, request)
    return Drift.model_validate(await _result(inference, job_id, http))


async def _result(inference: InferenceService, job_id: str, http: Request) -> dict[str, Any]:
    """Wait for the end of a job. Raises Conflict when the client has gone, and the error the job ended with."""
    async with aclosing(inference.follow(job_id)) as steps:
        async for step in steps:
            if step.result is not None:
                return step.result
            if await http.is_disconnected():
                break
    raise errors.Conflict("It was cancelled.", hint="Ask again.")


async def _events(steps: AsyncGenerator[Generation]) -> AsyncGenerator[dict[str, Any] | None]:
    """Yield the text in pieces, then the figures; an error ends the stream with its code."""
    sent = ""
    async with aclosing(steps):
        try:
            async for step in steps:
                if delta := step.text[len(sent) :]:
                    yield {"delta": delta}
                    sent = step.text
                yield None if step.result is None else {"done": True} | step.result
        except errors.ModelyardError as error:
            yield {"done": True, "error": error.as_dict()}
