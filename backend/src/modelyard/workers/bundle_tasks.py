"""Celery tasks about bundles. A task's only argument is the id of a job."""

import logging
from typing import Any

from modelyard.core.database import Database, get_database
from modelyard.core.errors import StorageError
from modelyard.models import BundleStatus, JobKind, JobState
from modelyard.services.bundles.actions import forget_source, remove_files
from modelyard.services.bundles.bundle_service import BundleService
from modelyard.services.bundles.export_service import BundleExportService
from modelyard.services.bundles.import_service import BundleImportService
from modelyard.services.jobs.job_service import JobService
from modelyard.workers.celery_app import celery_app
from modelyard.workers.job_runner import Endings, RunningJob, run_job
from modelyard.workers.websocket_emitter import emit_model_download_progress

logger = logging.getLogger(__name__)


def _end(
    database: Database,
    job_id: str,
    owner: str,
    bundle_id: str,
    state: JobState,
    error: dict[str, Any] | None = None,
) -> None:
    """End or pause the job and its bundle. Raises LeaseLost."""
    status = BundleStatus.READY if state is JobState.DONE else BundleStatus(state.value)
    with database.session() as session:
        JobService(session).finish(job_id, owner, state, error=error)
        bundles = BundleService(session)
        bundles.mark(bundles.get_by_id(bundle_id), status, error)


def _completed(database: Database, job_id: str, owner: str, bundle_id: str, _kind: JobKind) -> None:
    _end(database, job_id, owner, bundle_id, JobState.DONE)
    with database.reading() as session:
        bundle = BundleService(session).get_by_id(bundle_id)
    try:
        forget_source(bundle)
    except StorageError as error:
        logger.warning("An imported file stays: %s", error.message)


def _failed(database: Database, job_id: str, owner: str, bundle_id: str, error: dict[str, Any]) -> None:
    _end(database, job_id, owner, bundle_id, JobState.FAILED, error)


def _paused(database: Database, job_id: str, owner: str, bundle_id: str, error: dict[str, Any] | None) -> None:
    _end(database, job_id, owner, bundle_id, JobState.PAUSED, error)


def _cancelled(database: Database, job_id: str, owner: str, bundle_id: str, _kind: JobKind) -> None:
    # Only the job's owner removes anything.
    emit_model_download_progress(database, job_id, owner, None)
    error = None
    try:
        remove_files(database, bundle_id)
    except StorageError as problem:
        logger.warning("What was written cannot be removed: %s", problem.message)
        error = problem.as_dict()
    _end(database, job_id, owner, bundle_id, JobState.CANCELLED, error)


ENDINGS = Endings(completed=_completed, failed=_failed, paused=_paused, cancelled=_cancelled)


@celery_app.task(name="bundles.export")
def export_task(job_id: str) -> None:
    """Write models into a bundle."""
    run_job(job_id, _export, ENDINGS)


@celery_app.task(name="bundles.unpack")
def unpack_task(job_id: str) -> None:
    """Bring the models of a bundle into the cache."""
    run_job(job_id, _unpack, ENDINGS)


def _export(job: RunningJob) -> None:
    BundleExportService(get_database()).write(job.subject_id, job)


def _unpack(job: RunningJob) -> None:
    BundleImportService(get_database()).read(job.subject_id, job)
