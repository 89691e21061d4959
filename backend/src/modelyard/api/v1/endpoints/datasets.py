"""Endpoints of data sets: search and look into those of a Hub, upload a text file, list and delete uploads."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from modelyard.api.body_limit import STREAMED
from modelyard.api.deps import HubDatasetsDep, ReadingDep
from modelyard.api.hub_slots import TALKS_TO_A_HUB
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import HUB_PROBLEMS, problems
from modelyard.api.uploads import receive_file
from modelyard.api.v1.endpoints._common import HubCursor, Revision
from modelyard.core import errors
from modelyard.core.settings import get_settings
from modelyard.schemas.cache import FreedBytes
from modelyard.schemas.dataset import DatasetInfo, DatasetSearchPage, DatasetSort
from modelyard.schemas.training import DatasetList, DatasetResponse
from modelyard.services.training.dataset_service import DatasetService

SORT_KEYS: dict[DatasetSort, str] = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "updated": "lastModified",
}

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


@router.get(
    "/search", summary="Search the Hub for data sets", dependencies=TALKS_TO_A_HUB, responses=problems(*HUB_PROBLEMS)
)
def search_datasets(
    hub: HubDatasetsDep,
    q: Annotated[str, Query(description="Part of a name.", max_length=200, examples=["wikitext"])] = "",
    sort: Annotated[DatasetSort, Query(description="Field to sort by, descending.")] = "downloads",
    limit: Annotated[int, Query(description="Maximum number of data sets.", ge=1, le=50)] = 10,
    cursor: HubCursor = None,
) -> DatasetSearchPage:
    """Search the current Hub for data sets, one page at a time."""
    return hub.search(q.strip(), SORT_KEYS[sort], limit, cursor)


@router.get(
    "/info/{repo_id:path}",
    summary="A data set on the Hub",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS, errors.DatasetNotFound),
)
def get_dataset_info(
    hub: HubDatasetsDep,
    repo_id: Annotated[str, Path(description="`owner/name`.", max_length=200, examples=["Salesforce/wikitext"])],
    config: Annotated[
        str | None,
        Query(description="Configuration to look into; the first.", min_length=1, max_length=200, examples=["default"]),
    ] = None,
    split: Annotated[
        str | None,
        Query(description="Split to look into; the first.", min_length=1, max_length=200, examples=["train"]),
    ] = None,
    revision: Revision = None,
) -> DatasetInfo:
    """Return a data set's configurations and splits, and the columns, rows and first rows of one split.

    Nothing is downloaded: footers of Parquet files and the beginnings of others are read. What they do not tell is
    null.
    """
    return hub.info(repo_id, config=config, split=split, revision=revision)


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
