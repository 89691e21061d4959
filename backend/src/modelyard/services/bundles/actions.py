"""What is done to a bundle and its files: decided in a short transaction, carried out outside of it."""

import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, InvalidRequest, ModelyardError, PathNotAllowed
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.core.storage import folder_bytes, remove_folder, storage_errors
from modelyard.models import ACTIVE_BUNDLE_STATUSES, Bundle, BundleKind, BundleStatus, Model, ModelStatus
from modelyard.services.bundles.bundle_service import BundleService
from modelyard.services.bundles.import_service import MANIFEST_FILE
from modelyard.services.bundles.manifest import BundleManifest, parse_manifest
from modelyard.services.bundles.reader import find_parts
from modelyard.services.bundles.targets import Targets
from modelyard.services.model_files import hub_cache
from modelyard.services.model_service import ModelService

CANCEL_WAIT_SECONDS = 5.0


def cancel_bundle(database: Database, bundle_id: str) -> None:
    """Cancel as `BundleService.cancel` does; remove what was done unless a worker does. Raises StorageError."""
    with database.session() as session:
        bundle = BundleService(session).cancel(bundle_id)
    if bundle.status is BundleStatus.CANCELLED:
        remove_files(database, bundle_id)


def delete_bundle(database: Database, bundle_id: str) -> int:
    """Remove a bundle that is written here, or the entry of an import; returns the bytes freed.

    Work under way is cancelled first and waited for. Models that an import has made stay. Raises BundleNotFound,
    StorageError, and Conflict when its worker does not let go within CANCEL_WAIT_SECONDS.
    """
    with database.reading() as session:
        bundle = BundleService(session).get_by_id(bundle_id)
    if bundle.status in (*ACTIVE_BUNDLE_STATUSES, BundleStatus.PAUSED):
        with suppress(Conflict):  # it has ended just now
            cancel_bundle(database, bundle_id)
    deadline = time.monotonic() + CANCEL_WAIT_SECONDS
    folder = get_settings().bundles_folder / bundle_id
    freed = folder_bytes(folder)
    while True:
        try:
            with database.session() as session:
                bundle = BundleService(session).get_by_id(bundle_id)
                BundleService(session).end(bundle_id)
        except Conflict:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            _remove_files(database, bundle)
            return freed


def remove_files(database: Database, bundle_id: str) -> None:
    """Remove what was written for a bundle that will not become ready, also what an import has read so far."""
    with database.reading() as session:
        bundle = BundleService(session).get_by_id(bundle_id)
    _remove_files(database, bundle)


def forget_source(bundle: Bundle) -> None:
    """Remove the file of an import that was sent to the server for it."""
    uploads = get_settings().bundle_uploads_folder
    path = Path(bundle.path or "/")
    if bundle.kind is not BundleKind.IMPORT or path.parent != Path(uploads.resolve()):
        return
    with suppress(InvalidRequest, PathNotAllowed), storage_errors(uploads):  # it is gone already
        for part in find_parts(path, PathRules.of(get_settings())):
            part.real.unlink(missing_ok=True)


def _remove_files(database: Database, bundle: Bundle) -> None:
    folder = get_settings().bundles_folder / bundle.id
    if bundle.kind is BundleKind.IMPORT:
        if bundle.status is not BundleStatus.READY:
            _take_back(database, bundle, folder / MANIFEST_FILE)
        forget_source(bundle)
    with storage_errors(folder):
        remove_folder(folder)


def _take_back(database: Database, bundle: Bundle, manifest_file: Path) -> None:
    """Remove what an import has put into the cache, except what was there before and what a row uses."""
    try:
        manifest: BundleManifest = parse_manifest(manifest_file.read_bytes())
    except (FileNotFoundError, ModelyardError):  # no worker has begun with it
        return
    with database.session() as session:
        models = ModelService(session)
        for row in session.scalars(
            select(Model).where(Model.status == ModelStatus.PENDING, Model.job_id == bundle.job_id)
        ).all():
            models.mark_ended(row, ModelStatus.CANCELLED)
            row.removal_due = True
        used = {
            (row.model_id, row.commit) for model in manifest.models for row in models.get_by_model_id(model.model_id)
        }
    cache = hub_cache()
    for model in manifest.models:
        if model.files is not None and (model.model_id, model.commit) not in used:
            present = bundle.request["present"].get(f"{model.model_id}@{model.commit}", [])
            files = [file.remote for file in model.files if file.path not in present]
            cache.remove_files(model.model_id, model.commit, files)
            cache.remove_partials(model.model_id, {file.blob for file in files})
    Targets(cache, manifest, {}, bundle.id).remove_copies()
