"""Deleting SAEs: decided in a short transaction, folders measured and removed outside of any.

A crash in between leaves a row whose files are missing, which says so and can be deleted again.
"""

from pathlib import Path

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, ModelInUse
from modelyard.core.storage import folder_bytes, remove_folder, storage_errors
from modelyard.models import Sae, SaeSource
from modelyard.schemas.deletion import DeletionReport
from modelyard.services.saes.sae_folder import own_folder, sae_folder
from modelyard.services.saes.sae_response import users_of
from modelyard.services.saes.sae_service import SaeService


def sae_deletion_plan(database: Database, sae_id: str) -> DeletionReport:
    """Return what `delete_sae` would free, and what uses the SAE. Raises SaeNotFound."""
    with database.reading() as session:
        saes = SaeService(session)
        sae = saes.get_by_id(sae_id)
        used_by = users_of(sae, saes.work_of([sae]).get(sae.id))
    return DeletionReport(
        freed_bytes=sum(map(folder_bytes, _folders(sae))),
        kept_bytes=0,
        kept_because=[],
        shared_cache=False,
        used_by=used_by,
    )


def delete_sae(database: Database, sae_id: str) -> DeletionReport:
    """Remove an SAE with its feature pages. The run that trained it stays, with its curve.

    Raises SaeNotFound, ModelInUse while there is work on it, StorageError, Conflict where a folder cannot be removed.
    """
    report = sae_deletion_plan(database, sae_id)
    if report.used_by:
        raise ModelInUse(
            f"The sparse autoencoder is {report.used_by[0].name}.",
            hint="Wait for the end of the work, or cancel it first.",
            used_by=[user.model_dump() for user in report.used_by],
        )
    with database.reading() as session:
        sae = SaeService(session).get_by_id(sae_id)
    for folder in _folders(sae):
        try:
            with storage_errors(folder):
                remove_folder(folder)
        except OSError as error:
            raise Conflict(
                f"{folder} cannot be removed: {error.strerror or error}.", hint="Remove it by hand."
            ) from error
    with database.session() as session:
        SaeService(session).remove(sae_id)
    return report


def _folders(sae: Sae) -> list[Path]:
    return [own_folder(sae.id), *([sae_folder(sae)] if sae.source is SaeSource.TRAINED and sae.training_id else [])]
