"""The Celery task of training runs. Its only argument is the id of a job."""

from modelyard.core.database import get_database
from modelyard.services.training.run_service import TrainingRunService
from modelyard.workers import websocket_emitter
from modelyard.workers.celery_app import celery_app
from modelyard.workers.job_runner import Endings, RunningJob, run_job

TRAINING_ENDINGS = Endings(
    completed=websocket_emitter.emit_training_completed,
    failed=websocket_emitter.emit_training_failed,
    paused=websocket_emitter.emit_training_stopped,
    cancelled=websocket_emitter.emit_training_cancelled,
)


@celery_app.task(name="trainings.train")
def train_task(job_id: str) -> None:
    """Train a sparse autoencoder in a child process."""
    run_job(job_id, _train, TRAINING_ENDINGS)


def _train(job: RunningJob) -> None:
    TrainingRunService(get_database()).run(job.subject_id, job)
