"""Celery tasks about models. A task's only argument is the id of a job."""

from modelyard.core.database import get_database
from modelyard.models import Model
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.jobs.payloads import ImportPayload
from modelyard.services.local_model_service import LocalModelService
from modelyard.services.merge_service import MergeService
from modelyard.services.model_service import ModelService
from modelyard.services.quantization_service import QuantizationService
from modelyard.workers.celery_app import celery_app
from modelyard.workers.job_runner import RunningJob, run_job


@celery_app.task(name="models.download")
def download_model_task(job_id: str) -> None:
    """Fetch and verify a model's files; its architecture is in the database before the first byte of weights."""
    run_job(job_id, _download)


@celery_app.task(name="models.verify")
def verify_model_task(job_id: str) -> None:
    """Hash every file of an installed model and fetch again what is damaged."""
    run_job(job_id, _verify)


@celery_app.task(name="models.import")
def import_model_task(job_id: str) -> None:
    """Bring a local folder into the cache."""
    run_job(job_id, _import)


@celery_app.task(name="models.quantize")
def quantize_model_task(job_id: str) -> None:
    """Make the quantized copy of a snapshot in a child process."""
    run_job(job_id, _quantize)


@celery_app.task(name="models.merge")
def merge_model_task(job_id: str) -> None:
    """Make a model of an adapter and its base in a child process."""
    run_job(job_id, _merge)


def _download(job: RunningJob) -> None:
    HuggingFaceModelService(get_database()).download_model(_row(job), job)


def _verify(job: RunningJob) -> None:
    LocalModelService(get_database()).verify(_row(job), job)


def _import(job: RunningJob) -> None:
    LocalModelService(get_database()).import_folder(_row(job), ImportPayload.of(job.job), job)


def _quantize(job: RunningJob) -> None:
    QuantizationService(get_database()).quantize(_row(job), job)


def _merge(job: RunningJob) -> None:
    MergeService(get_database()).merge(_row(job), job)


def _row(job: RunningJob) -> Model:
    with get_database().reading() as session:
        return ModelService(session).get_by_id(job.subject_id)
