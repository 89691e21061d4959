"""Deleting a training run: decided in a short transaction, its folder measured and removed outside of any.

A crash in between leaves a row whose removal is due; maintenance finishes it.
"""

from pathlib import Path

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, ModelyardError, StorageError
from modelyard.core.settings import get_settings
from modelyard.core.storage import folder_bytes, remove_folder, storage_errors
from modelyard.services.saes.sae_folder import own_folder
from modelyard.services.saes.sae_service import SaeService
from modelyard.services.training.training_service import TrainingService


def delete_training(database: Database, training_id: str) -> int:
    """Remove a run that has ended, with its SAE and its checkpoint; returns the bytes freed.

    Raises TrainingNotFound, StorageError, and Conflict while it is under way, while there is work on its SAE, or where
    its folder cannot be removed. A run whose folder could not be removed stays and says why.
    """
    with database.session() as session:
        TrainingService(session).begin_deletion(training_id)
        saes = SaeService(session)
        if (sae := saes.of_training(training_id)) is not None:
            saes.require_idle(sae)
    folders = [_folder(training_id), *([own_folder(sae.id)] if sae is not None else [])]
    freed = sum(map(folder_bytes, folders))
    remove_training_files(database, training_id)
    return freed


def remove_training_files(database: Database, training_id: str) -> None:
    """Remove the folder of a run whose removal is due, and of its SAE, then its row. Raises StorageError, Conflict."""
    folder = _folder(training_id)
    with database.reading() as session:
        sae = SaeService(session).of_training(training_id)
    refused: ModelyardError | None = None
    try:
        with storage_errors(folder):
            remove_folder(folder)
            if sae is not None:
                remove_folder(own_folder(sae.id))
    except StorageError as error:
        refused = error
    except OSError as error:
        refused = Conflict(f"{folder} cannot be removed: {error.strerror or error}.", hint="Remove it by hand.")
    with database.session() as session:
        trainings = TrainingService(session)
        if refused is None:
            if sae is not None:
                SaeService(session).remove(sae.id)
            trainings.end_deletion(training_id)
        else:
            trainings.give_up_deletion(training_id, refused.as_dict(), keeps_files=folder.exists())
    if refused is not None:
        raise refused


def _folder(training_id: str) -> Path:
    return get_settings().trainings_folder / training_id
