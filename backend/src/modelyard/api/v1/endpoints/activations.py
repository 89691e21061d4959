"""Endpoints of activations: read at once, or written to files by a job."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from modelyard.api.body_limit import MAX_TEXT_BYTES
from modelyard.api.deps import ActivationsDep, InferenceDep, LensesDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import MODEL_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Offset, RowId
from modelyard.api.waiting import last_result
from modelyard.core import errors
from modelyard.schemas import examples
from modelyard.schemas.activations import ActivationsRequest, ActivationsResponse, CapturePage, CaptureResponse
from modelyard.schemas.cache import FreedBytes
from modelyard.schemas.logit_lens import LogitLensRequest, LogitLensResponse

router = APIRouter(tags=["activations"], route_class=PlainTextRoute)

CaptureId = Annotated[
    str,
    Path(
        alias="id",
        description="The id of activations in files.",
        max_length=64,
        examples=[examples.CAPTURE_RESPONSE["id"]],
    ),
]
FILES: dict[int | str, dict[str, Any]] = {
    202: {"model": CaptureResponse, "description": "They are written to files: `save` was sent, or they are larger."}
}


@router.post(
    "/models/{id}/activations",
    summary="Read activations",
    response_model=ActivationsResponse,
    responses=FILES | problems(*MODEL_PROBLEMS, errors.PathNotAllowed, errors.DatasetNotFound, errors.Conflict),
    max_body_size=MAX_TEXT_BYTES,
)
async def read_activations(
    row_id: RowId, request: ActivationsRequest, activations: ActivationsDep, inference: InferenceDep, http: Request
) -> Any:
    """Return what hook points of a model give for texts, token ids or rows of a data set.

    Tensors of at most 16 MB are the answer, unless `save` is true. Larger ones are written to files by a job, whose
    size is known before it begins: one that does not fit on the disk is refused.
    """
    if not request.save:
        job_id = await asyncio.to_thread(activations.start_direct, row_id, request)
        if found := await last_result(inference.follow(job_id), http):
            return JSONResponse(found)
    capture_id = await asyncio.to_thread(activations.start, row_id, request)
    capture = await asyncio.to_thread(activations.await_estimate, capture_id)
    return JSONResponse(capture.model_dump(mode="json"), status_code=202)


@router.post("/models/{id}/logit-lens", summary="Logit lens", responses=problems(*MODEL_PROBLEMS, errors.Conflict))
async def read_logit_lens(
    row_id: RowId, request: LogitLensRequest, lenses: LensesDep, inference: InferenceDep, http: Request
) -> LogitLensResponse:
    """Return, for each layer and token of a prompt, the next tokens if that layer were the last one.

    Its output goes through the model's final norm and output embedding.
    """
    job_id = await asyncio.to_thread(lenses.start, row_id, request)
    return LogitLensResponse.model_validate(await last_result(inference.follow(job_id), http))


@router.get("/activations", summary="List activations in files")
def list_activations(
    activations: ActivationsDep,
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=200)] = 50,
    offset: Offset = 0,
) -> CapturePage:
    """List activations that are, or are being, written to files, newest first, one page at a time."""
    return activations.list(limit=limit, offset=offset)


@router.get("/activations/{id}", summary="Activations in files", responses=problems(errors.ActivationsNotFound))
def get_activations(capture_id: CaptureId, activations: ActivationsDep) -> CaptureResponse:
    """Return one set with its progress."""
    return activations.get(capture_id)


@router.post(
    "/activations/{id}/pause",
    status_code=202,
    summary="Pause activations",
    responses=ACCEPTED | problems(errors.ActivationsNotFound, errors.Conflict),
)
def pause_activations(capture_id: CaptureId, activations: ActivationsDep) -> CaptureResponse:
    """Stop after the batch under way and keep the files that are complete."""
    return activations.pause(capture_id)


@router.post(
    "/activations/{id}/resume",
    status_code=202,
    summary="Resume activations",
    responses=ACCEPTED | problems(errors.ActivationsNotFound, errors.Conflict),
)
def resume_activations(capture_id: CaptureId, activations: ActivationsDep) -> CaptureResponse:
    """Resume what was paused or failed; the files become what they would have been without the interruption."""
    return activations.resume(capture_id)


@router.post(
    "/activations/{id}/cancel",
    status_code=202,
    summary="Cancel activations",
    responses=ACCEPTED | problems(errors.ActivationsNotFound, errors.Conflict),
)
def cancel_activations(capture_id: CaptureId, activations: ActivationsDep) -> CaptureResponse:
    """Stop for good and remove what is written."""
    return activations.cancel(capture_id)


@router.delete(
    "/activations/{id}",
    summary="Delete activations",
    responses=problems(errors.ActivationsNotFound, errors.Conflict),
)
def delete_activations(capture_id: CaptureId, activations: ActivationsDep) -> FreedBytes:
    """Delete the files of a set that has ended, and its entry."""
    return FreedBytes(freed_bytes=activations.delete(capture_id))
