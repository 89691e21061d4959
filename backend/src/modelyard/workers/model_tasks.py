"""Celery tasks about models. A task's only argument is the id of a job."""

from modelyard.core.database import get_database
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.model_service import ModelService
from modelyard.workers.celery_app import celery_app
from modelyard.workers.job_runner import RunningJob, run_job


@celery_app.task(name="models.download")
def download_model_task(job_id: str) -> None:
    """Fetch and verify a model's files; its architecture is in the database before the first byte of weights."""
    run_job(job_id, _download)


def _download(job: RunningJob) -> None:
    database = get_database()
    with database.reading() as session:
        row = ModelService(session).get_by_id(job.subject_id)
    HuggingFaceModelService(database).download_model(row, job)
