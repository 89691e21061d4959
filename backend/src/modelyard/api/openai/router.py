"""`/v1`: the models of this instance behind OpenAI's API."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from modelyard.api.body_limit import MAX_TEXT_BYTES
from modelyard.api.deps import InferenceDep, OpenAIDep
from modelyard.api.openai.problems import openai_problems
from modelyard.api.openai.streaming import streamed
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.waiting import last_result
from modelyard.core import errors
from modelyard.schemas import openai_examples as examples
from modelyard.schemas.openai import ChatCompletion, Completion, EmbeddingList, OpenAIModel, OpenAIModelList
from modelyard.schemas.openai_requests import (
    MAX_NAME,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
)
from modelyard.services.inference.inference_service import InferenceService
from modelyard.services.openai.answers import embeddings
from modelyard.services.openai.openai_service import StartedAnswer

router = APIRouter(prefix="/v1", tags=["openai"], route_class=PlainTextRoute)

_NAMING = (errors.InvalidRequest, errors.ModelNotFound, errors.NotReady, errors.BaseMissing)
_WORKING = openai_problems(
    *_NAMING,
    errors.UnsupportedParameter,
    errors.NoWeights,
    errors.UnsupportedAdapter,
    errors.ContextLengthExceeded,
    errors.PayloadTooLarge,
    errors.Conflict,
    errors.ExtraMissing,
    errors.InvalidRepository,
    errors.NoTokenizer,
    errors.TemplateFailed,
    errors.OutputNotFinite,
    errors.OutOfMemory,
    errors.UnsupportedArchitecture,
)


def _streams(example: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"text/event-stream": {"example": example}}}}


@router.get("/models", summary="Models", responses=openai_problems())
def list_openai_models(openai: OpenAIDep) -> OpenAIModelList:
    """Return the models that are ready, under the names that requests take."""
    return openai.list_models()


@router.get("/models/{model:path}", summary="A model", responses=openai_problems(*_NAMING))
def get_openai_model(
    model: Annotated[
        str,
        Path(description="A name as in a request, or a row's id.", max_length=MAX_NAME, examples=[examples.NAME]),
    ],
    openai: OpenAIDep,
) -> OpenAIModel:
    """Return one model, if it is ready."""
    return openai.get_model(model)


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=ChatCompletion,
    responses=_streams(examples.CHAT_STREAM) | _WORKING,
    max_body_size=MAX_TEXT_BYTES,
)
async def create_chat_completion(
    request: ChatCompletionRequest, openai: OpenAIDep, inference: InferenceDep, http: Request
) -> Response:
    """Answer messages with the model's chat template. The model is loaded if it is not; closing the connection stops.

    A field that would change the answer and is not supported is refused by its name.
    """
    started = await asyncio.to_thread(openai.start_chat, request)
    return await _answer(started, request, inference, http)


@router.post(
    "/completions",
    summary="Continue texts",
    response_model=Completion,
    responses=_streams(examples.COMPLETION_STREAM) | _WORKING,
    max_body_size=MAX_TEXT_BYTES,
)
async def create_completion(
    request: CompletionRequest, openai: OpenAIDep, inference: InferenceDep, http: Request
) -> Response:
    """Continue prompts, given as texts or as token ids; with `echo` and `logprobs` also to score texts.

    A field that would change the answer and is not supported is refused by its name.
    """
    started = await asyncio.to_thread(openai.start_completion, request)
    return await _answer(started, request, inference, http)


@router.post(
    "/embeddings",
    summary="Embed texts",
    response_model=EmbeddingList,
    responses=_WORKING,
    max_body_size=MAX_TEXT_BYTES,
)
async def create_embeddings(
    request: EmbeddingRequest, openai: OpenAIDep, inference: InferenceDep, http: Request
) -> Response:
    """Turn texts, given as texts or as token ids, into vectors: the model's last hidden states, pooled.

    Closing the connection stops it. `dimensions` is refused.
    """
    job_id = await asyncio.to_thread(openai.start_embeddings, request)
    result = await last_result(inference.follow(job_id), http)
    body = await asyncio.to_thread(lambda: embeddings(request, result).model_dump_json())
    return Response(body, media_type="application/json")


async def _answer(
    started: StartedAnswer, request: GenerationRequest, inference: InferenceService, http: Request
) -> Response:
    steps = inference.follow(started.job_id)
    if request.stream:
        include_usage = request.stream_options is not None and request.stream_options.include_usage
        return await streamed(started, steps, http, include_usage=include_usage)
    result = await last_result(steps, http)
    # Thousands of log-probabilities take a while to write; the event loop serves others meanwhile.
    return Response(await asyncio.to_thread(_body, started, result), media_type="application/json")


def _body(started: StartedAnswer, result: dict[str, Any]) -> str:
    answer = started.form.whole(started.heading, result["choices"], started.n)
    return answer.model_dump_json(exclude={"modelyard"} if answer.modelyard is None else None)
