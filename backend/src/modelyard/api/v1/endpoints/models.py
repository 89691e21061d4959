"""Models: list, download, inspect, steer, delete."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Path, Query, Request
from fastapi.responses import StreamingResponse

from modelyard.api.deps import (
    ArchitecturesDep,
    DatabaseDep,
    HubModelsDep,
    InferenceDep,
    LocalModelsDep,
    QuantizationsDep,
    ReadingDep,
    SessionDep,
    TrainingCompatibilityDep,
)
from modelyard.api.problems import HUB_PROBLEMS, problems
from modelyard.core import errors
from modelyard.models import ModelStatus, Quantization
from modelyard.schemas import examples
from modelyard.schemas.common import DtypeName, QuantizationName
from modelyard.schemas.model import (
    Architecture,
    CacheListing,
    DeletionReport,
    FreedBytes,
    GenerateRequest,
    GenerateResponse,
    InstalledFiles,
    LoadedPage,
    LoadRequest,
    MemoryEstimate,
    ModelDownloadRequest,
    ModelImportRequest,
    ModelInfo,
    ModelPage,
    ModelResponse,
    QuantizeRequest,
    SearchPage,
    StatusName,
)
from modelyard.schemas.training import TrainingCompatibility
from modelyard.services.inference_service import Generation
from modelyard.services.inspection_service import warm_up_inspector
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import SORTS, ModelService, delete_model

router = APIRouter(prefix="/models", tags=["models"])

RowId = Annotated[str, Path(description="A row's id, as in the list of models.", max_length=64)]
HubModelId = Annotated[
    str,
    Query(
        description="`owner/name`, a bare name such as `gpt2`, or a model page's address.", min_length=1, max_length=500
    ),
]
Revision = Annotated[
    str | None, Query(description="Branch, tag or commit; the default branch if left out.", max_length=200)
]
ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"description": "Taken; progress comes over the WebSocket."}}


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": examples.GENERATE_STREAM}}}
}


@router.get("", summary="List models")
def list_models(
    session: ReadingDep,
    status: Annotated[list[StatusName] | None, Query(description="Only these; may be given several times.")] = None,
    quantization: Annotated[QuantizationName | None, Query(description="Only this precision.")] = None,
    q: Annotated[str | None, Query(description="Part of the name or architecture.", max_length=200)] = None,
    sort: Annotated[
        str, Query(description="A field, with - in front for descending.", pattern=f"^({'|'.join(SORTS)})$")
    ] = "-created_at",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> ModelPage:
    """One page of the models this instance manages."""
    rows, total = ModelService(session).list(
        statuses=[ModelStatus(name) for name in status or ()],
        quantization=Quantization(quantization) if quantization else None,
        query=q,
        sort=sort,
        limit=limit,
        offset=offset,
    )
    return ModelPage(items=ModelResponses(session).of_all(rows), total=total, limit=limit, offset=offset)


@router.post(
    "/download",
    status_code=202,
    summary="Download a model",
    responses=ACCEPTED
    | problems(*HUB_PROBLEMS, errors.AlreadyExists, errors.NoWeights, errors.UnsafeWeights, errors.DiskFull),
)
def download_model(request: ModelDownloadRequest, hub: HubModelsDep, database: DatabaseDep) -> ModelResponse:
    """Check that the model can be had and fits the disk, then queue its download.

    A model that failed, was cancelled or lost its files is started again under the same id, and uses what is left.
    """
    row_id = hub.start_download(request)
    with database.reading() as session:
        return ModelResponses(session).of_id(row_id)


@router.get("/search", summary="Search the Hub", responses=problems(*HUB_PROBLEMS))
def search_models(
    hub: HubModelsDep,
    background: BackgroundTasks,
    q: Annotated[str, Query(description="Part of a name; empty for the most downloaded.", max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> SearchPage:
    """Models on the Hub in use whose name matches, the most downloaded first."""
    # Whoever searches will look at a model next, and the inspector takes seconds to start.
    background.add_task(warm_up_inspector)
    return hub.search(q.strip(), limit)


@router.get("/estimate-memory", summary="Memory per precision", responses=problems(*HUB_PROBLEMS))
def estimate_memory(
    hub: HubModelsDep,
    model_id: HubModelId,
    revision: Revision = None,
    context: Annotated[int, Query(description="Tokens per sequence.", ge=1, le=10_000_000)] = 2048,
    batch: Annotated[int, Query(description="Sequences at once.", ge=1, le=4096)] = 1,
    dtype: Annotated[DtypeName, Query(description="What `none` loads in; auto is the checkpoint's own.")] = "auto",
) -> MemoryEstimate:
    """What the model needs in each precision, before a byte of weights is fetched, and whether it fits here."""
    return hub.estimate_memory(model_id, revision, context=context, batch=batch, dtype=dtype)


@router.get("/info/{model_id:path}", summary="A model on the Hub", responses=problems(*HUB_PROBLEMS))
def get_model_info(
    hub: HubModelsDep,
    model_id: Annotated[str, Path(description="`owner/name` or a bare name.", max_length=500, examples=["gpt2"])],
    revision: Revision = None,
) -> ModelInfo:
    """What the Hub tells of a model, and which of its files a download would fetch."""
    return hub.get_model_info(model_id, revision)


@router.get("/loaded", summary="Loaded models")
def list_loaded(inference: InferenceDep) -> LoadedPage:
    """What is in memory now, where, since when, and what came back at the last unload."""
    return inference.list_loaded()


@router.get(
    "/architecture",
    summary="Architecture of a model on the Hub",
    responses=problems(*HUB_PROBLEMS, errors.UnsupportedArchitecture, errors.NeedsCustomCode),
)
def get_hub_architecture(
    architectures: ArchitecturesDep, model_id: HubModelId, revision: Revision = None
) -> Architecture:
    """Blocks, dimensions and hook points of a model before it is downloaded, verified by a pass without weights."""
    return architectures.of_hub(model_id, revision)


@router.get("/cache", summary="The shared cache")
def list_cache(local: LocalModelsDep) -> CacheListing:
    """What the Hugging Face cache holds that is not managed yet, and what unfinished downloads left behind."""
    return local.list_cache()


@router.delete("/cache/leftovers", summary="Drop leftovers")
def drop_leftovers(
    local: LocalModelsDep,
    older_than_seconds: Annotated[float, Query(description="Only files untouched for this long.", ge=0)] = 3600,
) -> FreedBytes:
    """Remove unfinished files that no model in the list will go on with."""
    return FreedBytes(freed_bytes=local.drop_leftovers(older_than_seconds))


@router.post(
    "/import",
    status_code=202,
    summary="Import a model",
    responses=ACCEPTED
    | problems(errors.InvalidRequest, errors.ModelNotFound, errors.AlreadyExists, errors.NoWeights, errors.Conflict),
)
def import_model(request: ModelImportRequest, local: LocalModelsDep, database: DatabaseDep) -> ModelResponse:
    """Take over a local folder, by hard link or copy, or a model that other tools downloaded; every byte is hashed."""
    row_id = local.start_import(request)
    with database.reading() as session:
        return ModelResponses(session).of_id(row_id)


@router.post(
    "/{id}/verify",
    status_code=202,
    summary="Verify",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
)
def verify_model(id: RowId, local: LocalModelsDep, database: DatabaseDep) -> ModelResponse:
    """Hash every file of an installed model; what is damaged is fetched again, and only that."""
    local.start_verify(id)
    with database.reading() as session:
        return ModelResponses(session).of_id(id)


@router.post(
    "/{id}/quantize",
    status_code=202,
    summary="Quantize",
    responses=ACCEPTED
    | problems(errors.ModelNotFound, errors.AlreadyExists, errors.AlreadyQuantized, errors.NotReady, errors.Conflict),
)
def quantize_model(
    id: RowId, request: QuantizeRequest, quantizations: QuantizationsDep, database: DatabaseDep
) -> ModelResponse:
    """Make a quantized copy, once, of a model that is here: a new row on the same snapshot."""
    row_id = quantizations.start(id, request.quantization, keep_original=request.keep_original)
    with database.reading() as session:
        return ModelResponses(session).of_id(row_id)


@router.post(
    "/{id}/load",
    status_code=202,
    summary="Load",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.NotReady),
)
def load_model(id: RowId, request: LoadRequest, inference: InferenceDep, database: DatabaseDep) -> ModelResponse:
    """Have a model in the memory of an inference worker; `loaded` tells when it is, `error` why it could not be."""
    inference.start_load(id, request)
    with database.reading() as session:
        return ModelResponses(session).of_id(id)


@router.post(
    "/{id}/unload",
    status_code=202,
    summary="Unload",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
)
def unload_model(id: RowId, inference: InferenceDep, database: DatabaseDep) -> ModelResponse:
    """Free a model's memory; what came back is measured and told by `GET /models/loaded` at its next load."""
    inference.start_unload(id)
    with database.reading() as session:
        return ModelResponses(session).of_id(id)


@router.post(
    "/{id}/generate",
    summary="Generate text",
    response_model=GenerateResponse,
    responses=STREAMED
    | problems(
        errors.ModelNotFound,
        errors.NotReady,
        errors.NoTokenizer,
        errors.OutOfMemory,
        errors.UnsupportedArchitecture,
    ),
)
async def generate(id: RowId, request: GenerateRequest, inference: InferenceDep, http: Request) -> Any:
    """Continue a prompt, or answer messages with the chat template; closing the connection stops it."""
    job_id = await asyncio.to_thread(inference.start_generate, id, request)
    if request.stream:
        return StreamingResponse(_events(inference.follow(job_id)), media_type="text/event-stream")
    async with aclosing(inference.follow(job_id)) as steps:
        async for step in steps:
            if step.result is not None:
                return GenerateResponse.model_validate(step.result, extra="ignore")
            if await http.is_disconnected():
                break
    raise errors.Conflict("The generation was cancelled.")


async def _events(steps: AsyncGenerator[Generation]) -> AsyncIterator[str]:
    """Server-sent events: the text in pieces, then the figures; an error ends the stream with its code."""
    sent = ""
    async with aclosing(steps):
        try:
            async for step in steps:
                if delta := step.text[len(sent) :]:
                    yield f"data: {json.dumps({'delta': delta})}\n\n"
                    sent = step.text
                if step.result is not None:
                    yield f"data: {json.dumps({'done': True} | step.result)}\n\n"
        except errors.ModelyardError as error:
            yield f"data: {json.dumps({'done': True, 'error': error.as_dict()})}\n\n"


@router.get("/{id}", summary="One model", responses=problems(errors.ModelNotFound))
def get_model(id: RowId, session: ReadingDep) -> ModelResponse:
    """The row as it is now, with live progress."""
    return ModelResponses(session).of_id(id)


@router.get("/{id}/files", summary="Files", responses=problems(errors.ModelNotFound))
def list_files(id: RowId, session: ReadingDep) -> InstalledFiles:
    """The files of a model's snapshot with their hashes, and whether each is on the disk."""
    return ModelService(session).files(id)


@router.get(
    "/{id}/architecture",
    summary="Architecture",
    responses=problems(errors.ModelNotFound, errors.NotReady, errors.UnsupportedArchitecture, errors.NeedsCustomCode),
)
def get_architecture(id: RowId, architectures: ArchitecturesDep) -> Architecture:
    """Blocks, dimensions and hook points of a model that is here."""
    return architectures.of_row(id)


@router.get(
    "/{id}/training-compatibility",
    summary="Can it be trained on",
    responses=problems(errors.ModelNotFound),
)
def get_training_compatibility(
    id: RowId,
    compatibility: TrainingCompatibilityDep,
    level: Annotated[
        Literal["static", "structural"], Query(description="static answers at once, from the configuration alone.")
    ] = "structural",
) -> TrainingCompatibility:
    """Whether a sparse autoencoder can be trained on the model, where in it, and if not, why.

    `compatible` is null where that could not be verified, which is no refusal: a run checks it in its first seconds.
    """
    return compatibility.of_row(id, level)


@router.get(
    "/{id}/estimate-memory",
    summary="Memory of a model that is here",
    responses=problems(errors.ModelNotFound, errors.NotReady, errors.UnsupportedArchitecture),
)
def estimate_local_memory(
    id: RowId,
    architectures: ArchitecturesDep,
    context: Annotated[int, Query(description="Tokens per sequence.", ge=1, le=10_000_000)] = 2048,
    batch: Annotated[int, Query(description="Sequences at once.", ge=1, le=4096)] = 1,
    dtype: Annotated[DtypeName, Query(description="What `none` loads in; auto is the checkpoint's own.")] = "auto",
) -> MemoryEstimate:
    """What a model needs in each precision; works without the Hub."""
    return architectures.memory_of_row(id, context=context, batch=batch, dtype=dtype)


@router.delete(
    "/{id}",
    summary="Delete a model",
    responses=problems(errors.ModelNotFound, errors.ModelInUse, errors.SharedCache, errors.Conflict),
)
def delete_model_row(
    id: RowId,
    database: DatabaseDep,
    dry_run: Annotated[bool, Query(description="Only tell what would be freed and kept.")] = False,
    confirm_shared: Annotated[bool, Query(description="Delete files that were in the shared cache before.")] = False,
) -> DeletionReport:
    """Remove the row and the files nobody else uses; the answer says exactly how many bytes came free."""
    if dry_run:
        with database.reading() as session:
            return ModelService(session).plan_deletion(id)
    return delete_model(database, id, confirm_shared=confirm_shared)


def _steer(action: str, summary: str, text: str) -> None:
    @router.post(
        f"/{{id}}/{action}",
        status_code=202,
        summary=summary,
        description=text,
        operation_id=f"{action}_model",
        responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
    )
    def steer(id: RowId, session: SessionDep) -> ModelResponse:
        model = getattr(ModelService(session), action)(id)
        return ModelResponses(session).of(model)


_steer("pause", "Pause", "Stop and keep what was fetched; it goes on at the same byte.")
_steer("resume", "Resume", "Go on with a paused, failed or cancelled download.")
_steer("cancel", "Cancel", "Stop and remove partial data.")
