"""Events that workers emit: writes to the rows of jobs and models.

The API's event hub reads these rows and sends changes to every socket, so no worker needs to reach the API, and nothing
is lost while the API restarts.
"""

import logging
from contextlib import suppress
from typing import Any

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, StorageError
from modelyard.core.storage import storage_errors
from modelyard.models import JobControl, JobKind, JobState, ModelStatus, TrainingStatus
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_actions import files_on_disk, finish_removal, remove_partial_data
from modelyard.services.model_files import FilesOnDisk
from modelyard.services.model_service import ModelService
from modelyard.services.saes.sae_service import SaeService
from modelyard.services.training.training_service import TrainingService

logger = logging.getLogger(__name__)


def emit_model_download_progress(
    database: Database,
    job_id: str,
    owner: str,
    progress: JobProgress | None,
    result: dict[str, Any] | None = None,
) -> JobControl:
    """Renew the lease and publish progress; returns whether to run, pause or cancel. Raises LeaseLost."""
    with database.session() as session:
        return JobService(session).heartbeat(job_id, owner, progress, result)


def emit_model_download_completed(database: Database, job_id: str, owner: str, row_id: str, kind: JobKind) -> None:
    """End the job: the model is ready, or its quantization comes next. Raises LeaseLost."""
    found = files_on_disk(database, row_id)
    with database.session() as session:
        JobService(session).finish(job_id, owner, JobState.DONE)
        models = ModelService(session)
        models.mark_done(models.get_by_id(row_id), kind, found)
    with suppress(Conflict, StorageError):  # the row says so
        finish_removal(database, row_id)


def emit_model_download_failed(database: Database, job_id: str, owner: str, row_id: str, error: dict[str, Any]) -> None:
    """End the job with an error; partial data is kept. Raises LeaseLost."""
    _end_model(database, job_id, owner, row_id, JobState.FAILED, error)


def emit_model_download_paused(
    database: Database, job_id: str, owner: str, row_id: str, error: dict[str, Any] | None = None
) -> None:
    """Pause the job, at the user's request or for the reason in `error`. Raises LeaseLost."""
    _end_model(database, job_id, owner, row_id, JobState.PAUSED, error)


def emit_model_download_cancelled(database: Database, job_id: str, owner: str, row_id: str, kind: JobKind) -> None:
    """Cancel the job and remove what it fetched, or write to the row why that failed. Raises LeaseLost.

    Maintenance tries again later to remove what is left.
    """
    error, is_removed = None, True
    if kind is not JobKind.VERIFY:
        # Only the job's owner removes anything.
        emit_model_download_progress(database, job_id, owner, None)
        try:
            remove_partial_data(database, row_id)
        except Conflict as refused:
            error = refused.as_dict()
        except StorageError as problem:
            logger.warning("What was fetched cannot be removed yet: %s", problem.message)
            error, is_removed = problem.as_dict(), False
    found = _files_found(database, row_id) if is_removed else None
    with database.session() as session:
        JobService(session).finish(job_id, owner, JobState.CANCELLED, error=error)
        models = ModelService(session)
        model = models.get_by_id(row_id)
        models.mark_cancelled(model, kind, found)
        model.error = error


def _end_model(
    database: Database, job_id: str, owner: str, row_id: str, state: JobState, error: dict[str, Any] | None
) -> None:
    found = _files_found(database, row_id)
    with database.session() as session:
        JobService(session).finish(job_id, owner, state, error=error)
        models = ModelService(session)
        model = models.get_by_id(row_id)
        models.mark_ended(model, ModelStatus(state.value), error)
        if found is not None:
            models.files.note(model, found)


def _files_found(database: Database, row_id: str) -> FilesOnDisk | None:
    """Return the state of a row's files, None if the disk cannot be read now."""
    try:
        with storage_errors():
            return files_on_disk(database, row_id)
    except StorageError as problem:
        logger.warning("Files cannot be looked at: %s", problem.message)
        return None


def emit_training_completed(database: Database, job_id: str, owner: str, training_id: str, _kind: JobKind) -> None:
    """End a run whose SAE is complete. Raises LeaseLost."""
    with database.session() as session:
        JobService(session).finish(job_id, owner, JobState.DONE)
        trainings = TrainingService(session)
        training = trainings.get_by_id(training_id)
        trainings.mark_completed(training)
        SaeService(session).add_trained(training)


def emit_training_failed(database: Database, job_id: str, owner: str, training_id: str, error: dict[str, Any]) -> None:
    """End a run with an error; its checkpoint is kept. Raises LeaseLost."""
    with database.session() as session:
        JobService(session).finish(job_id, owner, JobState.FAILED, error=error)
        trainings = TrainingService(session)
        trainings.mark_ended(trainings.get_by_id(training_id), TrainingStatus.FAILED, error)


def emit_training_stopped(
    database: Database, job_id: str, owner: str, training_id: str, error: dict[str, Any] | None
) -> None:
    """Make a run pending again for the reason in `error`. Users cannot pause runs. Raises LeaseLost."""
    if error is None:
        emit_training_cancelled(database, job_id, owner, training_id, JobKind.TRAIN)
        return
    with database.session() as session:
        trainings = TrainingService(session)
        training = trainings.get_by_id(training_id)
        if training.status is TrainingStatus.CANCELLING:  # nobody waits for it, but its state could not be saved
            JobService(session).finish(job_id, owner, JobState.FAILED, error=error)
            trainings.mark_ended(training, TrainingStatus.FAILED, error)
        else:
            JobService(session).finish(job_id, owner, JobState.PAUSED, error=error)
            trainings.mark_waiting(training, error)


def emit_training_cancelled(database: Database, job_id: str, owner: str, training_id: str, _kind: JobKind) -> None:
    """Cancel a run; its checkpoint is kept. Raises LeaseLost."""
    with database.session() as session:
        JobService(session).finish(job_id, owner, JobState.CANCELLED)
        trainings = TrainingService(session)
        trainings.mark_ended(trainings.get_by_id(training_id), TrainingStatus.CANCELLED)
