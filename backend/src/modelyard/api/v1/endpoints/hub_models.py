"""Endpoints of models on a Hub: search, inspect, download."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from modelyard.api.deps import ArchitecturesDep, HubModelsDep, HubSearchDep, RowAnswerDep
from modelyard.api.hub_slots import TALKS_TO_A_HUB
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import HUB_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import (
    ACCEPTED,
    Batch,
    Context,
    Dtype,
    HubCursor,
    HubModelId,
    Parts,
    Revision,
)
from modelyard.core import errors
from modelyard.core.statuses import QuantizationName
from modelyard.hub.parameter_range import ParameterRange
from modelyard.hub.search import HubQuery
from modelyard.schemas.architecture import Architecture
from modelyard.schemas.download import CollectionInfo, ModelDownloadRequest, ModelInfo, SearchPage, SearchSort
from modelyard.schemas.memory import MemoryEstimate
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.text_file import ModelCard

NAME_ON_HUB: dict[str, Any] = {"max_length": 100, "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"}
MAX_COUNT = 2**53
SORT_KEYS: dict[SearchSort, str] = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "updated": "lastModified",
}

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)


@router.post(
    "/download",
    status_code=202,
    summary="Download a model",
    dependencies=TALKS_TO_A_HUB,
    responses=ACCEPTED
    | problems(
        *HUB_PROBLEMS,
        errors.AlreadyExists,
        errors.Conflict,
        errors.NoWeights,
        errors.UnsafeWeights,
        errors.UnsupportedAdapter,
        errors.BaseMissing,
        errors.UnsupportedArchitecture,
        errors.NoTokenizer,
        errors.DiskFull,
    ),
)
def download_model(request: ModelDownloadRequest, hub: HubModelsDep, answer: RowAnswerDep) -> ModelResponse:
    """Check access and disk space, then queue the download of a model.

    With `gguf_file`, that file is downloaded and converted to safetensors. A PEFT adapter needs its base: it is
    refused unless that is here, or `with_base` has it downloaded, too. A model that failed, was cancelled or lost
    its files is downloaded again under the same id and reuses the files that are left.
    """
    return answer(hub.start_download(request))


@router.get("/search", summary="Search the Hub", dependencies=TALKS_TO_A_HUB, responses=problems(*HUB_PROBLEMS))
def search_models(
    hub: HubSearchDep,
    q: Annotated[
        str,
        Query(
            description="Part of a name; without it and `task`, models that generate text.",
            max_length=200,
            examples=["qwen3 0.6b"],
        ),
    ] = "",
    task: Annotated[
        str | None,
        Query(description="What the model is for, as the Hub names it.", **NAME_ON_HUB, examples=["text-generation"]),
    ] = None,
    licence: Annotated[
        str | None, Query(description="As the Hub names it.", **NAME_ON_HUB, examples=["apache-2.0"])
    ] = None,
    architecture: Annotated[
        str | None, Query(description="Model type, as config.json names it.", **NAME_ON_HUB, examples=["qwen3"])
    ] = None,
    min_parameters: Annotated[
        int | None, Query(description="Models of unknown size are left out.", ge=0, le=MAX_COUNT, examples=[500000000])
    ] = None,
    max_parameters: Annotated[
        int | None, Query(description="Models of unknown size are left out.", ge=0, le=MAX_COUNT, examples=[8000000000])
    ] = None,
    fits: Annotated[
        bool, Query(description="Only models whose weights, in `precision`, are known to fit this machine now.")
    ] = False,
    precision: Annotated[
        QuantizationName, Query(description="What `weights_bytes` and `fits` are of; `none`: as stored.")
    ] = "none",
    sort: Annotated[SearchSort, Query(description="Field to sort by, descending.")] = "downloads",
    limit: Annotated[int, Query(description="Maximum number of models.", ge=1, le=50)] = 10,
    cursor: HubCursor = None,
) -> SearchPage:
    """Search the current Hub for models, one page at a time. All filters given must match."""
    query = HubQuery(
        text=q.strip(),
        sort=SORT_KEYS[sort],
        task=task,
        licence=licence,
        architecture=architecture,
        num_parameters=ParameterRange(min_parameters, max_parameters),
    )
    return hub.search(query, limit, cursor=cursor, fits=fits, precision=precision)


@router.get(
    "/collection",
    summary="A collection on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS),
)
def get_collection(
    hub: HubSearchDep,
    name: Annotated[
        str,
        Query(
            description="Its slug or its address.",
            max_length=500,
            examples=["HuggingFaceTB/smollm2-6723884218bcda64b34d7db9"],
        ),
    ],
) -> CollectionInfo:
    """Return the models of a collection."""
    return hub.collection(name)


@router.get(
    "/estimate-memory",
    summary="Memory of a model on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS, errors.UnsupportedAdapter),
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
    """Estimate a model's memory in each precision before the download, and whether it fits this machine.

    Figures of an adapter are those of its base with it.
    """
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
    """Return what the Hub says about a model, and which of its files a download would fetch."""
    return hub.get_model_info(model_id, revision)


@router.get(
    "/card",
    summary="Model card on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS),
)
def get_hub_card(hub: HubModelsDep, model_id: HubModelId, revision: Revision = None) -> ModelCard:
    """Return the model card of a repository, before its download."""
    return hub.card(model_id, revision)


@router.get(
    "/architecture",
    summary="Architecture of a model on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS, errors.UnsupportedArchitecture, errors.NeedsCustomCode),
)
def get_hub_architecture(
    architectures: ArchitecturesDep, model_id: HubModelId, revision: Revision = None
) -> Architecture:
    """Return a model's blocks, dimensions and hook points before its download, verified by a pass without weights."""
    return architectures.of_hub(model_id, revision)
