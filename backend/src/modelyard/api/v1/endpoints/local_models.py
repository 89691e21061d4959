"""Models that need no download: those of the shared cache, and folders."""

from typing import Annotated

from fastapi import APIRouter, Query

from modelyard.api.deps import LocalModelsDep, RowAnswerDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.v1.endpoints._common import ACCEPTED
from modelyard.core import errors
from modelyard.schemas.cache import CacheListing, FreedBytes, ModelImportRequest
from modelyard.schemas.model import ModelResponse

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)


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
    | problems(
        errors.InvalidRequest,
        errors.PathNotAllowed,
        errors.ModelNotFound,
        errors.AlreadyExists,
        errors.NoWeights,
        errors.UnsafeWeights,
        errors.InvalidRepository,
        errors.Conflict,
    ),
)
def import_model(request: ModelImportRequest, local: LocalModelsDep, answer: RowAnswerDep) -> ModelResponse:
    """Take over a local folder, by hard link or copy, or a model that other tools downloaded; every byte is hashed.

    The folder must lie below one of MODELYARD_ALLOWED_PATHS. Without that, any folder is allowed to a server that only
    this machine's users reach; one with a key reads the uploads and the Hugging Face cache. Links that lead out of the
    folder are refused, except those of a snapshot into the blobs of its own repository.
    """
    return answer(local.start_import(request))
