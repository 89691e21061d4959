"""Endpoints of models in memory: load, unload, generate text, measure drift."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request

from modelyard.api.body_limit import MAX_TEXT_BYTES
from modelyard.api.deps import InferenceDep, RowAnswerDep
from modelyard.api.event_stream import event_stream
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import MODEL_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import ACCEPTED, RowId
from modelyard.api.waiting import last_result
from modelyard.core import errors
from modelyard.schemas import examples
from modelyard.schemas.inference import DriftRequest, GenerateRequest, GenerateResponse, LoadedPage, LoadRequest
from modelyard.schemas.model import Drift, ModelResponse
from modelyard.services.inference.inference_service import Generation

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": examples.GENERATE_STREAM}}}
}


@router.get("/loaded", summary="Loaded models")
def list_loaded(inference: InferenceDep) -> LoadedPage:
    """List the loaded models with device, memory and last use, and the memory freed by each one's last unload."""
    return inference.list_loaded()


@router.post(
    "/{id}/load",
    status_code=202,
    summary="Load",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.NotReady, errors.BaseMissing, errors.ExtraMissing),
)
def load_model(row_id: RowId, request: LoadRequest, inference: InferenceDep, answer: RowAnswerDep) -> ModelResponse:
    """Load a model into the memory of an inference worker; of an adapter, its base too, if that is not loaded.

    While it loads, `progress` reports the current step. `loaded` becomes true, or `error` says why the load failed.
    Unload or cancel stops it.
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
    """Unload a model and measure the memory that this frees; `GET /models/loaded` reports it at the next load.

    If the model is still loading, cancels its most recent load request. A load that others also requested continues.
    """
    inference.start_unload(row_id)
    return answer(row_id)


@router.post(
    "/{id}/generate",
    summary="Generate text",
    response_model=GenerateResponse,
    responses=STREAMED | problems(*MODEL_PROBLEMS, errors.OutputNotFinite),
    max_body_size=MAX_TEXT_BYTES,
)
async def generate(row_id: RowId, request: GenerateRequest, inference: InferenceDep, http: Request) -> Any:
    """Continue a prompt, or answer messages with the chat template. Closing the connection stops the generation."""
    job_id = await asyncio.to_thread(inference.start_generate, row_id, request)
    if request.stream:
        return event_stream(_events(inference.follow(job_id)))
    return GenerateResponse.model_validate(_answer(await last_result(inference.follow(job_id), http)), extra="ignore")


@router.post(
    "/{id}/drift",
    summary="Drift on a text",
    responses=problems(
        errors.ModelNotFound,
        errors.NotReady,
        errors.Conflict,
        errors.ExtraMissing,
        errors.InvalidRepository,
        errors.NoTokenizer,
        errors.TemplateFailed,
        errors.OutOfMemory,
        errors.UnsupportedArchitecture,
    ),
    max_body_size=MAX_TEXT_BYTES,
)
async def measure_drift(row_id: RowId, request: DriftRequest, inference: InferenceDep, http: Request) -> Drift:
    """Compare a quantized copy with its original on a text. Both are loaded, one after the other.

    Closing the connection stops it. The model's `drift` field has the same figures for the standard prompts, measured
    when the copy was made.
    """
    job_id = await asyncio.to_thread(inference.start_drift, row_id, request)
    return Drift.model_validate(await last_result(inference.follow(job_id), http))


def _answer(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a generation with one choice as one flat object."""
    (choice,) = result["choices"]
    return {name: value for name, value in result.items() if name != "choices"} | {
        "text": choice["text"],
        "finish_reason": choice["finish_reason"],
    }


async def _events(steps: AsyncGenerator[Generation]) -> AsyncGenerator[dict[str, Any] | None]:
    """Yield the text in pieces, then the figures; an error ends the stream with its code."""
    sent = 0
    async with aclosing(steps):
        try:
            async for step in steps:
                text = step.choices[0]["text"] if step.choices else ""
                if delta := text[sent:]:
                    yield {"delta": delta}
                    sent = len(text)
                yield None if step.result is None else {"done": True} | _answer(step.result)
        except errors.ModelyardError as error:
            yield {"done": True, "error": error.as_dict()}
