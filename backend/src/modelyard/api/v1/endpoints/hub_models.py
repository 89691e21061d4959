"""Models on a Hub: searching, looking at, and downloading them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from modelyard.api.deps import ArchitecturesDep, HubModelsDep, RowAnswerDep
from modelyard.api.hub_slots import TALKS_TO_A_HUB
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import HUB_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import ACCEPTED, Batch, Context, Dtype, HubModelId, Parts, Revision
from modelyard.core import errors
from modelyard.schemas.architecture import Architecture
from modelyard.schemas.download import ModelDownloadRequest, ModelInfo, SearchPage, SearchSort
from modelyard.schemas.memory import MemoryEstimate
from modelyard.schemas.model import ModelResponse

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)


@router.post(
    "/download",
    status_code=202,
    summary="Download a model",
    dependencies=TALKS_TO_A_HUB,
    responses=ACCEPTED
    | problems(
        *HUB_PROBLEMS, errors.AlreadyExists, errors.Conflict, errors.NoWeights, errors.UnsafeWeights, errors.DiskFull
    ),
)
def download_model(request: ModelDownloadRequest, hub: HubModelsDep, answer: RowAnswerDep) -> ModelResponse:
    """Check that the model can be had and fits the disk, then queue its download.

    A model that failed, was cancelled or lost its files is started again under the same id, and uses what is left.
    """
    return answer(hub.start_download(request))


@router.get("/search", summary="Search the Hub", dependencies=TALKS_TO_A_HUB, responses=problems(*HUB_PROBLEMS))
def search_models(
    hub: HubModelsDep,
    q: Annotated[
        str,
        Query(
            description="Part of a name; empty for models that generate text.", max_length=200, examples=["qwen3 0.6b"]
        ),
    ] = "",
    sort: Annotated[SearchSort, Query(description="The most of it first.")] = "downloads",
    limit: Annotated[int, Query(description="Models at most.", ge=1, le=50)] = 10,
) -> SearchPage:
    """Models on the Hub in use whose name matches."""
    return hub.search(q.strip(), limit, sort)


@router.get(
    "/estimate-memory",
    summary="Memory per precision",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS),
)
def estimate_memory(
    hub: HubModelsDep,
    model_id: HubModelId,
    revision: Revision = None,
    context: Context = 2048,
    batch: Batch = 1,
    dtype: Dtype = "auto",
    parts: Parts = "all",
) -> MemoryEstimate:
    """What the model needs in each precision, before a byte of weights is fetched, and whether it fits here."""
    return hub.estimate_memory(model_id, revision, context=context, batch=batch, dtype=dtype, parts=parts)


@router.get(
    "/info/{model_id:path}",
    summary="A model on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS),
)
def get_model_info(
    hub: HubModelsDep,
    model_id: Annotated[str, Path(description="`owner/name` or a bare name.", max_length=500, examples=["gpt2"])],
    revision: Revision = None,
) -> ModelInfo:
    """What the Hub tells of a model, and which of its files a download would fetch."""
    return hub.get_model_info(model_id, revision)


@router.get(
    "/architecture",
    summary="Architecture of a model on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS, errors.UnsupportedArchitecture, errors.NeedsCustomCode),
)
def get_hub_architecture(
    architectures: ArchitecturesDep, model_id: HubModelId, revision: Revision = None
) -> Architecture:
    """Blocks, dimensions and hook points of a model before it is downloaded, verified by a pass without weights."""
    return architectures.of_hub(model_id, revision)
