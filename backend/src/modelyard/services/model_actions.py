"""What is done to a row and its files: decided in a short transaction, carried out and written down outside of it.

A crash in between leaves a row that is `deleting`, or whose removal is due; maintenance finishes it.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, StorageError
from modelyard.models import ACTIVE_STATUSES, Job, JobKind, ModelStatus
from modelyard.schemas.deletion import DeletionPlan, DeletionReport
from modelyard.schemas.model import InstalledFile, InstalledFiles
from modelyard.services.deletion_plan import confirmed_plan, plan_row, plan_rows
from modelyard.services.model_files import FilesOnDisk, look_at_files, manifest, next_work
from modelyard.services.model_service import ModelService
from modelyard.services.versions import Versions, name_in_cache

CANCEL_WAIT_SECONDS = 5.0


def pause_model(database: Database, row_id: str) -> None:
    """Pause as `ModelService.pause` does."""
    with database.session() as session:
        ModelService(session).pause(row_id)


def resume_model(database: Database, row_id: str) -> None:
    """Resume as `ModelService.resume` does, which is told what an ended row's files allow to begin with."""
    with database.reading() as session:
        models = ModelService(session)
        model = models.get_by_id(row_id)
    kind = next_work(models.cache, model) if model.begins_anew else None
    with database.session() as session:
        ModelService(session).resume(row_id, kind)


def cancel_model(database: Database, row_id: str) -> None:
    """Cancel as `ModelService.cancel` does; remove what was fetched unless a worker does. May raise StorageError."""
    with database.reading() as session:
        model = ModelService(session).get_by_id(row_id)
        job = session.get(Job, model.job_id) if model.job_id else None
        is_verified = job is not None and job.kind is JobKind.VERIFY and model.status in ACTIVE_STATUSES
    found = files_on_disk(database, row_id) if is_verified else None
    with database.session() as session:
        ModelService(session).cancel(row_id, found)
    finish_removal(database, row_id)


def delete_model(
    database: Database, row_id: str, *, confirm_shared: bool = False, with_original: bool = False
) -> DeletionReport:
    """Delete a row and its files; a download under way is cancelled first and waited for.

    `with_original` also removes files that stay only as the original of quantized copies.

    Raises ModelNotFound, ModelInUse, SharedCache, StorageError, and Conflict when its worker does not let go within
    CANCEL_WAIT_SECONDS.
    """
    with database.reading() as session:
        models = ModelService(session)
        facts = models.deletion.facts(models.get_by_id(row_id))
    # Before anything is cancelled.
    confirmed_plan(models.cache, facts, confirm_shared=confirm_shared, with_original=with_original)
    model = facts.model
    if model.status in ACTIVE_STATUSES or model.status is ModelStatus.PAUSED:
        with suppress(Conflict):  # its work has just ended; what else is in the way is said below
            cancel_model(database, row_id)
    deadline = time.monotonic() + CANCEL_WAIT_SECONDS
    while True:
        with database.reading() as session:
            models = ModelService(session)
            facts = models.deletion.facts(models.get_by_id(row_id))
        plan = confirmed_plan(models.cache, facts, confirm_shared=confirm_shared, with_original=with_original)
        try:
            with database.session() as session:
                ModelService(session).delete(row_id, plan, confirm_shared=confirm_shared)
        except Conflict:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            finish_removal(database, row_id)
            for copy in plan.copies if plan.with_original else ():
                finish_removal(database, copy)
            return plan.report


def deletion_plan(database: Database, row_id: str, *, with_original: bool = False) -> DeletionReport:
    """Return exactly what `delete_model` would free, and what it must leave and why. Raises ModelNotFound."""
    with database.reading() as session:
        models = ModelService(session)
        facts = models.deletion.facts(models.get_by_id(row_id))
    return plan_row(models.cache, facts, with_original=with_original).report


def deletion_plans(
    database: Database, row_ids: Sequence[str], *, confirm_shared: bool = False, with_original: bool = False
) -> DeletionPlan:
    """Return the same of several rows, deleted one after the other in this order. Ids of no row are left out."""
    with database.reading() as session:
        models = ModelService(session)
        found = [models.find(row_id) for row_id in dict.fromkeys(row_ids)]
        rows = [models.deletion.facts(model) for model in found if model is not None]
    return plan_rows(models.cache, rows, confirm_shared=confirm_shared, with_original=with_original)


def installed_files(database: Database, row_id: str) -> InstalledFiles:
    """Return the manifest of a row's snapshot, and which of its files are on the disk. Raises ModelNotFound."""
    with database.reading() as session:
        models = ModelService(session)
        model = models.get_by_id(row_id)
    files = manifest(model)
    present = {file.path for file in models.cache.inventory(model.model_id, model.commit, files).present}
    return InstalledFiles(items=[InstalledFile(**vars(file), present=file.path in present) for file in files])


def files_on_disk(database: Database, row_id: str) -> FilesOnDisk:
    """Look at a row's files, for the transaction that comes next. Raises ModelNotFound."""
    with database.reading() as session:
        models = ModelService(session)
        model = models.get_by_id(row_id)
    return look_at_files(models.cache, model)


def remove_partial_data(database: Database, row_id: str) -> None:
    """Remove what was fetched for a row whose work its caller owns. Raises ModelNotFound, StorageError."""
    with database.reading() as session:
        models = ModelService(session)
        removal = models.deletion.partial_data(models.get_by_id(row_id))
    removal.carry_out(models.cache)


def finish_removal(database: Database, row_id: str) -> None:
    """Remove what is due of a row's files, or the row with all of them; nothing where nothing is.

    Safe to be done twice at once, and again after a crash. Raises StorageError, after which it is still due and the row
    says why, and Conflict where a folder is a link: then the files stay, the row says why and can be used again.
    """
    with database.reading() as session:
        models = ModelService(session)
        model = models.find(row_id)
        removal = None if model is None else models.deletion.due_removal(model)
    if removal is None:
        return
    refused: Conflict | None = None
    try:
        removal.carry_out(models.cache)
    except StorageError as error:
        _postpone(database, row_id, error)
        raise
    except Conflict as error:
        refused = error
    with database.reading() as session:
        model = ModelService(session).find(row_id)
    if model is not None:
        found, heir = look_at_files(models.cache, model), None
        with database.session() as session:
            models = ModelService(session)
            model = models.find(row_id)
            if model is not None and refused is None:
                is_deleted = model.status is ModelStatus.DELETING
                models.deletion.end_removal(model, found)
                heir = Versions(session).current(model) if is_deleted else None
            elif model is not None and refused is not None:
                models.deletion.give_up_removal(model, found, refused)
        # The branch's name in the cache went with the version that it meant.
        if heir is not None and not models.cache.has_ref(heir.model_id, heir.revision):
            name_in_cache(models.cache, heir)
    if refused is not None:
        raise refused


def _postpone(database: Database, row_id: str, error: StorageError) -> None:
    with database.session() as session:
        models = ModelService(session)
        if (model := models.find(row_id)) is not None:
            models.deletion.postpone_removal(model, error)
