"""Endpoints of data sets: upload a text file, list and delete uploads."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from modelyard.api.body_limit import STREAMED
from modelyard.api.deps import ReadingDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.uploads import receive_file
from modelyard.core import errors
from modelyard.core.settings import get_settings
from modelyard.schemas.cache import FreedBytes
from modelyard.schemas.training import DatasetList, DatasetResponse
from modelyard.services.training.dataset_service import DatasetService

router = APIRouter(prefix="/datasets", tags=["trainings"], route_class=PlainTextRoute)


UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "contentMediaType": "application/octet-stream",
                            "description": "Its name ends in .jsonl, .txt or .parquet.",
                        }
                    },
                },
                "example": {"file": "corpus.jsonl"},
            }
        },
    }
}


@router.post(
    "",
    status_code=201,
    summary="Upload a data set",
    responses=problems(errors.InvalidRequest, errors.DiskFull),
    openapi_extra=UPLOAD,
    max_body_size=STREAMED,
)
async def upload_dataset(request: Request) -> DatasetResponse:
    """Upload a .jsonl, .txt or .parquet file to the server's machine, and return its rows and text columns.

    A file may have up to `MODELYARD_MAX_UPLOAD_BYTES` (10 GB) and must be the only part of the form.
    """
    limit = get_settings().max_upload_bytes
    return await receive_file(request, field="file", limit_bytes=limit, begin=DatasetService().receive)


@router.get("", summary="List data sets", responses=problems())
def list_datasets(session: ReadingDep) -> DatasetList:
    """List the uploaded files, newest first, with the runs that use each."""
    return DatasetList(items=DatasetService().stored(session))


@router.delete("/{name}", summary="Delete a data set", responses=problems(errors.DatasetNotFound, errors.Conflict))
def delete_dataset(
    name: Annotated[
        str,
        Path(description="Name of the file, as in the list.", max_length=255, examples=["corpus-3f9a1c2b4d5e.jsonl"]),
    ],
    session: ReadingDep,
) -> FreedBytes:
    """Delete an uploaded file. Completed runs keep their SAE; stopped runs can no longer be resumed."""
    return FreedBytes(freed_bytes=DatasetService().delete(session, name))
