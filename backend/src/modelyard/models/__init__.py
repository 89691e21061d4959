"""SQLAlchemy tables, one per file."""

from modelyard.models.base import Base
from modelyard.models.deletion import Deletion
from modelyard.models.inspection import Inspection
from modelyard.models.job import Job, JobControl, JobKind, JobState
from modelyard.models.job_event import EventKind, EventName, JobEvent
from modelyard.models.loaded_model import LoadedModel
from modelyard.models.model import ACTIVE_STATUSES, RESTARTABLE_STATUSES, Model, ModelStatus, Quantization
from modelyard.models.repo_facts import StoredRepoFacts
from modelyard.models.setting import Setting
from modelyard.models.training import (
    ACTIVE_TRAINING_STATUSES,
    RESUMABLE_TRAINING_STATUSES,
    Training,
    TrainingStatus,
)
from modelyard.models.training_metric import TrainingMetric
from modelyard.models.worker import Worker

__all__ = [
    "ACTIVE_STATUSES",
    "ACTIVE_TRAINING_STATUSES",
    "RESTARTABLE_STATUSES",
    "RESUMABLE_TRAINING_STATUSES",
    "Base",
    "Deletion",
    "EventKind",
    "EventName",
    "Inspection",
    "Job",
    "JobControl",
    "JobEvent",
    "JobKind",
    "JobState",
    "LoadedModel",
    "Model",
    "ModelStatus",
    "Quantization",
    "Setting",
    "StoredRepoFacts",
    "Training",
    "TrainingMetric",
    "TrainingStatus",
    "Worker",
]
