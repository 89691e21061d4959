"""The Celery tasks of sparse autoencoders. Their only argument is the id of a job."""

from typing import Any

from modelyard.core.database import Database, get_database
from modelyard.models import JobKind, JobState
from modelyard.services.jobs.job_service import JobService
from modelyard.services.saes.arrivals import SaeArrivals
from modelyard.services.saes.judging import SaeJudging
from modelyard.services.saes.sae_service import SaeService
from modelyard.workers.celery_app import celery_app
from modelyard.workers.job_runner import Endings, RunningJob, run_job


def _completed(database: Database, job_id: str, owner: str, sae_id: str, _kind: JobKind) -> None:
    _end(database, job_id, owner, sae_id, JobState.DONE)


def _failed(database: Database, job_id: str, owner: str, sae_id: str, error: dict[str, Any]) -> None:
    _end(database, job_id, owner, sae_id, JobState.FAILED, error)


def _stopped(database: Database, job_id: str, owner: str, sae_id: str, error: dict[str, Any] | None) -> None:
    """Users cannot pause this work; for the reason in `error`, a disk, it is asked for again."""
    _end(database, job_id, owner, sae_id, JobState.FAILED if error else JobState.CANCELLED, error)


def _cancelled(database: Database, job_id: str, owner: str, sae_id: str, kind: JobKind) -> None:
    if kind is JobKind.FETCH_SAE:
        SaeArrivals(database).discard(sae_id)
    elif kind is JobKind.BUILD_FEATURES:
        SaeJudging(database).discard_features(sae_id)
    _end(database, job_id, owner, sae_id, JobState.CANCELLED)


def _end(
    database: Database, job_id: str, owner: str, sae_id: str, state: JobState, error: dict[str, Any] | None = None
) -> None:
    with database.session() as session:
        JobService(session).finish(job_id, owner, state, error=error)
        saes = SaeService(session)
        saes.end_work(saes.get_by_id(sae_id))


SAE_ENDINGS = Endings(completed=_completed, failed=_failed, paused=_stopped, cancelled=_cancelled)


@celery_app.task(name="saes.fetch")
def fetch_sae_task(job_id: str) -> None:
    """Fetch a sparse autoencoder from a Hub."""
    run_job(job_id, _fetch, SAE_ENDINGS)


def _fetch(job: RunningJob) -> None:
    SaeArrivals(get_database()).fetch(job.subject_id, job)


@celery_app.task(name="saes.evaluate")
def evaluate_sae_task(job_id: str) -> None:
    """Judge a sparse autoencoder in a child process."""
    run_job(job_id, _evaluate, SAE_ENDINGS)


def _evaluate(job: RunningJob) -> None:
    SaeJudging(get_database()).evaluate(job.job, job)


@celery_app.task(name="saes.build_features")
def build_features_task(job_id: str) -> None:
    """Look for what the features of a sparse autoencoder stand for, in a child process."""
    run_job(job_id, _build_features, SAE_ENDINGS)


def _build_features(job: RunningJob) -> None:
    SaeJudging(get_database()).build_features(job.job, job)
