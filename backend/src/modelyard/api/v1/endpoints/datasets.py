"""Data sets: sending a text file."""

from fastapi import APIRouter, UploadFile

from modelyard.api.problems import problems
from modelyard.core import errors
from modelyard.schemas.training import DatasetResponse
from modelyard.services.dataset_service import DatasetService

router = APIRouter(prefix="/datasets", tags=["trainings"])


@router.post("", status_code=201, summary="Send a data set", responses=problems(errors.InvalidRequest, errors.DiskFull))
def upload_dataset(file: UploadFile) -> DatasetResponse:
    """Store a .jsonl, .txt or .parquet file on the server's machine, and tell its rows and text columns."""
    return DatasetService().store(file.filename or "", file.file)
