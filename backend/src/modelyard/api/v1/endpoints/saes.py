"""Endpoints of sparse autoencoders: the shelf."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from modelyard.api.deps import DatabaseDep, ReadingDep, SaeAnswerDep, SaeArrivalsDep, SaeJudgingDep, SessionDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Offset
from modelyard.core import errors
from modelyard.schemas import examples, sae_examples
from modelyard.schemas.deletion import DeletionReport
from modelyard.schemas.sae import SaeDownload, SaeEvaluate, SaeImport, SaePage, SaeResponse
from modelyard.services.model_service import ModelService
from modelyard.services.saes.actions import delete_sae, sae_deletion_plan
from modelyard.services.saes.sae_archive import SaeArchive
from modelyard.services.saes.sae_response import SaeResponses
from modelyard.services.saes.sae_service import SaeService

router = APIRouter(prefix="/saes", tags=["saes"], route_class=PlainTextRoute)

SaeId = Annotated[str, Path(alias="id", description="An SAE's id.", max_length=64, examples=[sae_examples.SAE_ID])]
ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A tar archive.",
        "content": {"application/x-tar": {"schema": {"type": "string"}, "example": "sae-7a8b9c0d/cfg.json…"}},
    }
}
FOR_WORK = (
    errors.SaeNotFound,
    errors.InvalidRequest,
    errors.PathNotAllowed,
    errors.NotReady,
    errors.Conflict,
    errors.TrainingIncompatible,
    errors.SaeEngineMissing,
)
UNREADABLE = (errors.InvalidRepository, errors.NoWeights, errors.UnsupportedArchitecture)


@router.get("", summary="List sparse autoencoders", responses=problems(errors.ModelNotFound))
def list_saes(
    database: DatabaseDep,
    model_id: Annotated[
        str | None,
        Query(description="Only those trained on this model.", max_length=64, examples=[examples.MODEL_RESPONSE["id"]]),
    ] = None,
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=200)] = 50,
    offset: Offset = 0,
) -> SaePage:
    """List the sparse autoencoders on the shelf, newest first, one page at a time."""
    with database.reading() as session:
        model = None if model_id is None else ModelService(session).get_by_id(model_id)
        rows, total = SaeService(session).list(model=model, limit=limit, offset=offset)
        found = SaeResponses(session).of_all(rows)
    return SaePage(items=[row.response() for row in found], total=total, limit=limit, offset=offset)


@router.post(
    "/import",
    status_code=201,
    summary="Import a sparse autoencoder",
    responses=problems(errors.InvalidRequest, errors.PathNotAllowed, errors.DiskFull, *UNREADABLE),
)
def import_sae(request: SaeImport, arrivals: SaeArrivalsDep, answer: SaeAnswerDep) -> SaeResponse:
    """Copy a sparse autoencoder in SAELens's format from a folder on the server's machine.

    Only safetensors files are read. The folder must be one that the server reads for users.
    """
    return answer(arrivals.import_folder(request))


@router.post(
    "/download",
    status_code=202,
    summary="Download a sparse autoencoder",
    responses=ACCEPTED
    | problems(
        errors.InvalidRequest,
        errors.AlreadyExists,
        errors.Conflict,
        errors.DiskFull,
        errors.HubModelNotFound,
        errors.RevisionNotFound,
        errors.HubUnreachable,
        *UNREADABLE,
    ),
)
def download_sae(request: SaeDownload, arrivals: SaeArrivalsDep, answer: SaeAnswerDep) -> SaeResponse:
    """Fetch a sparse autoencoder in SAELens's format from a folder of a repository, verified by its hashes.

    Asking again for one that failed or was cancelled starts it again; what was fetched is kept.
    """
    return answer(arrivals.start_download(request))


@router.get("/{id}", summary="One sparse autoencoder", responses=problems(errors.SaeNotFound))
def get_sae(sae_id: SaeId, answer: SaeAnswerDep) -> SaeResponse:
    """Return a sparse autoencoder with its evaluation, the models it fits, and the work on it."""
    return answer(sae_id)


@router.get(
    "/{id}/export",
    summary="Export a sparse autoencoder",
    response_class=StreamingResponse,
    responses=problems(errors.SaeNotFound, errors.NotReady) | ARCHIVE,
)
def export_sae(sae_id: SaeId, session: ReadingDep) -> StreamingResponse:
    """Return the folder as an uncompressed tar archive, which `SAE.load_from_disk` reads once it is unpacked."""
    archive = SaeArchive.of(SaeService(session).get_by_id(sae_id))
    return StreamingResponse(
        archive.content(),
        media_type="application/x-tar",
        headers={
            "Content-Length": str(archive.size_bytes),
            "Content-Disposition": f'attachment; filename="{archive.name}"',
        },
    )


@router.post(
    "/{id}/evaluate",
    status_code=202,
    summary="Judge a sparse autoencoder",
    responses=ACCEPTED | problems(*FOR_WORK),
)
def evaluate_sae(sae_id: SaeId, request: SaeEvaluate, judging: SaeJudgingDep, answer: SaeAnswerDep) -> SaeResponse:
    """Compare the model's activations on a text with their reconstructions, and its loss with and without them.

    The figures are in `evaluation` once the work is done; those of an earlier evaluation stay until then.
    """
    judging.start(sae_id, request)
    return answer(sae_id)


@router.post(
    "/{id}/cancel",
    status_code=202,
    summary="Cancel the work on a sparse autoencoder",
    responses=ACCEPTED | problems(errors.SaeNotFound, errors.Conflict),
)
def cancel_sae_work(sae_id: SaeId, session: SessionDep) -> SaeResponse:
    """Stop the download, the evaluation or the building of features that is under way."""
    SaeService(session).cancel(sae_id)
    return SaeResponses(session).of_id(sae_id).response()


@router.delete(
    "/{id}",
    summary="Delete a sparse autoencoder",
    responses=problems(errors.SaeNotFound, errors.ModelInUse, errors.Conflict, errors.StorageDenied),
)
def delete_one_sae(
    sae_id: SaeId,
    database: DatabaseDep,
    dry_run: Annotated[bool, Query(description="Return the plan without deleting anything.")] = False,
) -> DeletionReport:
    """Delete a sparse autoencoder and its feature pages. The run that trained it stays, with its curve."""
    return sae_deletion_plan(database, sae_id) if dry_run else delete_sae(database, sae_id)
