"""Endpoints of models that need no download: those of the Hugging Face cache, and folders."""

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


@router.get("/cache", summary="List the Hugging Face cache")
def list_cache(local: LocalModelsDep) -> CacheListing:
    """List the models of the Hugging Face cache that are not managed yet, and files of unfinished downloads."""
    return local.list_cache()


@router.delete("/cache/leftovers", summary="Remove unfinished files")
def drop_leftovers(
    local: LocalModelsDep,
    older_than_seconds: Annotated[float, Query(description="Only files not modified for this long.", ge=0)] = 3600,
) -> FreedBytes:
    """Remove unfinished files that no listed model needs."""
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
        errors.UnsupportedAdapter,
        errors.InvalidRepository,
        errors.UnsupportedArchitecture,
        errors.NoTokenizer,
        errors.Conflict,
        errors.ExtraMissing,
    ),
)
def import_model(request: ModelImportRequest, local: LocalModelsDep, answer: RowAnswerDep) -> ModelResponse:
    """Import a local folder, by hard link or copy, or a model that other tools downloaded. Every byte is hashed.

    A GGUF file, whatever its name, is converted to safetensors and stays where it is; so is a model of Ollama on the
    server's machine, by its name (`llama3.2:1b`).

    The path must be inside one of `MODELYARD_ALLOWED_PATHS`. If that is not set, a server on loopback without a key
    reads any folder but system folders; every other server reads only uploads and the Hugging Face cache. Links out of
    the folder are refused, except those of a snapshot into the blobs of its own repository.
    """
    return answer(local.start_import(request))
