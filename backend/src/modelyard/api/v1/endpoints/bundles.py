"""Endpoints of bundles: models in a file that is carried to a machine without a network."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from modelyard.api.body_limit import STREAMED
from modelyard.api.deps import BundleExportsDep, BundleImportsDep, DatabaseDep, ReadingDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Offset
from modelyard.core import errors
from modelyard.core.database import Database
from modelyard.schemas.bundle import (
    BundleCreate,
    BundleImportRequest,
    BundlePage,
    BundlePlan,
    BundleResponse,
    BundleUpload,
)
from modelyard.schemas.cache import FreedBytes
from modelyard.services.bundles.actions import cancel_bundle, delete_bundle
from modelyard.services.bundles.bundle_service import BundleService
from modelyard.services.bundles.export_service import bundle_folder
from modelyard.services.bundles.uploads import BundleUploads

router = APIRouter(prefix="/bundles", tags=["bundles"], route_class=PlainTextRoute)

BundleId = Annotated[
    str,
    Path(
        alias="id",
        description="A bundle's id, as in the list.",
        max_length=64,
        examples=["0c9f1d6f7b5a4f7b8e3c2d1a0b9f8e7d"],
    ),
]
PartNumber = Annotated[int, Path(alias="n", description="Number of the part, from 1.", ge=1, le=999, examples=[1])]
_EXPORTED = (errors.ModelNotFound, errors.NotReady)


PIECE = {
    "requestBody": {
        "required": False,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "properties": {}},
                "example": "the bytes",
            }
        },
    }
}
RECEIVED: dict[int | str, dict[str, Any]] = {202: {"description": "How much was received."}}
PART: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, or the bytes of a `Range` (206).",
        "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}, "example": "the bytes"}},
    }
}


def _answer(database: Database, bundle_id: str) -> BundleResponse:
    with database.reading() as session:
        bundles = BundleService(session)
        return bundles.response(bundles.get_by_id(bundle_id))


@router.post(
    "",
    status_code=202,
    summary="Export models",
    responses=ACCEPTED | problems(*_EXPORTED, errors.AlreadyExists),
)
def create_bundle(request: BundleCreate, exports: BundleExportsDep, database: DatabaseDep) -> BundleResponse:
    """Write models, and what is asked for beside them, into one tar or parts of `split_bytes`.

    The exact size is known before; a disk without room for it is refused. `already_exists` names the bundle that has
    this very content.
    """
    return _answer(database, exports.start(request))


@router.post("/plan", summary="Plan an export", responses=problems(*_EXPORTED))
def plan_bundle(request: BundleCreate, exports: BundleExportsDep) -> BundlePlan:
    """Return the exact size of an export and what it holds, without starting it."""
    return exports.plan(request)


@router.get("", summary="List bundles", responses=problems())
def list_bundles(
    session: ReadingDep,
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=200)] = 50,
    offset: Offset = 0,
) -> BundlePage:
    """List exports and imports, the newest first."""
    bundles = BundleService(session)
    found, total = bundles.list(limit=limit, offset=offset)
    return BundlePage(items=[bundles.response(each) for each in found], total=total, limit=limit, offset=offset)


@router.post(
    "/import",
    status_code=202,
    summary="Import a bundle",
    responses=ACCEPTED
    | problems(
        errors.InvalidBundle,
        errors.PathNotAllowed,
        errors.UnsafeWeights,
        errors.AlreadyExists,
        errors.Conflict,
    ),
)
def import_bundle(request: BundleImportRequest, imports: BundleImportsDep, database: DatabaseDep) -> BundleResponse:
    """Bring the models of a bundle on the server's machine into the Hugging Face cache. No Hub is asked.

    Every file is hashed while it is read. Which paths are allowed is said at `POST /models/import`.
    """
    return _answer(database, imports.start(request))


@router.put(
    "/uploads/{name}",
    status_code=202,
    summary="Send a bundle",
    responses=RECEIVED | problems(errors.Conflict),
    openapi_extra=PIECE,
    max_body_size=STREAMED,
)
async def upload_bundle(
    request: Request,
    name: Annotated[
        str,
        Path(description="Name of the file: NAME.tar, or of a part NAME.tar.001.", max_length=200, examples=["x.tar"]),
    ],
    content_range: Annotated[
        str,
        Header(
            description="`bytes FIRST-LAST/SIZE`, or `bytes */SIZE` without a body, which asks how much is there.",
            max_length=100,
            examples=["bytes */5000000"],
        ),
    ],
) -> BundleUpload:
    """Send a file of a bundle in pieces of any size, in order; then import the `path` of the answer.

    After an interruption, `bytes */SIZE` says with which byte to continue. The disk is the only limit.
    """
    piece = await to_thread.run_sync(BundleUploads().begin, name, content_range)
    try:
        async for chunk in request.stream():
            if chunk:
                await to_thread.run_sync(piece.write, chunk)
    except ClientDisconnect as error:
        raise errors.InvalidRequest(
            "The connection ended before the piece did.", hint="Continue the upload."
        ) from error
    return await to_thread.run_sync(piece.finish)


@router.get("/{id}", summary="Get a bundle", responses=problems(errors.BundleNotFound))
def get_bundle(bundle_id: BundleId, database: DatabaseDep) -> BundleResponse:
    """Return an export or an import with its progress."""
    return _answer(database, bundle_id)


@router.get(
    "/{id}/parts/{n}",
    summary="Download a part",
    response_class=FileResponse,
    responses=PART | problems(errors.BundleNotFound, errors.NotReady),
)
def get_part(bundle_id: BundleId, number: PartNumber, database: DatabaseDep) -> FileResponse:
    """Send a file of a finished export; a `Range` continues an interrupted download."""
    bundle = _answer(database, bundle_id)
    if bundle.kind != "export" or number > len(bundle.parts):
        raise errors.BundleNotFound(f"The bundle has no part {number}.", hint="GET /bundles/{id} lists its parts.")
    if bundle.status != "ready":
        raise errors.NotReady(f"The bundle is {bundle.status}.", hint="Download its parts once it is ready.")
    part = bundle.parts[number - 1]
    path = bundle_folder(bundle.id) / part.name
    if not path.is_file():
        raise errors.BundleNotFound(f"{part.name} is gone from the server's disk.", hint="Delete the bundle.")
    return FileResponse(path, media_type="application/x-tar", filename=part.name, headers={"ETag": f'"{part.sha256}"'})


@router.post("/{id}/pause", summary="Pause a bundle", responses=problems(errors.BundleNotFound, errors.Conflict))
def pause_bundle(bundle_id: BundleId, database: DatabaseDep) -> BundleResponse:
    """Stop the work and keep what was done."""
    with database.session() as session:
        BundleService(session).pause(bundle_id)
    return _answer(database, bundle_id)


@router.post("/{id}/resume", summary="Resume a bundle", responses=problems(errors.BundleNotFound, errors.Conflict))
def resume_bundle(bundle_id: BundleId, database: DatabaseDep) -> BundleResponse:
    """Go on with a paused or failed bundle; a cancelled one begins again."""
    with database.session() as session:
        BundleService(session).resume(bundle_id)
    return _answer(database, bundle_id)


@router.post("/{id}/cancel", summary="Cancel a bundle", responses=problems(errors.BundleNotFound, errors.Conflict))
def cancel(bundle_id: BundleId, database: DatabaseDep) -> BundleResponse:
    """Stop the work and remove what was written or read."""
    cancel_bundle(database, bundle_id)
    return _answer(database, bundle_id)


@router.delete("/{id}", summary="Delete a bundle", responses=problems(errors.BundleNotFound, errors.Conflict))
def delete(bundle_id: BundleId, database: DatabaseDep) -> FreedBytes:
    """Delete an export with its parts, or the entry of an import; models that were imported stay."""
    return FreedBytes(freed_bytes=delete_bundle(database, bundle_id))
