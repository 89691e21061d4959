"""SQLAlchemy tables, one per file."""

from modelyard.core.statuses import (
    ACTIVE_BUNDLE_STATUSES,
    ACTIVE_STATUSES,
    ACTIVE_TRAINING_STATUSES,
    RESTARTABLE_STATUSES,
    RESUMABLE_TRAINING_STATUSES,
    BundleKind,
    BundleStatus,
    EventKind,
    EventName,
    JobControl,
    JobKind,
    JobState,
    ModelKind,
    ModelStatus,
    Quantization,
    SaeSource,
    TrainingStatus,
)
from modelyard.models.base import Base
from modelyard.models.bundle import Bundle
from modelyard.models.capture import Capture
from modelyard.models.deletion import Deletion
from modelyard.models.inspection import Inspection
from modelyard.models.job import Job
from modelyard.models.job_event import JobEvent
from modelyard.models.label import Label
from modelyard.models.loaded_model import LoadedModel
from modelyard.models.model import Model
from modelyard.models.repo_facts import StoredRepoFacts
from modelyard.models.sae import Sae
from modelyard.models.setting import Setting
from modelyard.models.training import Training
from modelyard.models.training_metric import TrainingMetric
from modelyard.models.worker import Worker

__all__ = [
    "ACTIVE_BUNDLE_STATUSES",
    "ACTIVE_STATUSES",
    "ACTIVE_TRAINING_STATUSES",
    "RESTARTABLE_STATUSES",
    "RESUMABLE_TRAINING_STATUSES",
    "Base",
    "Bundle",
    "BundleKind",
    "BundleStatus",
    "Capture",
    "Deletion",
    "EventKind",
    "EventName",
    "Inspection",
    "Job",
    "JobControl",
    "JobEvent",
    "JobKind",
    "JobState",
    "Label",
    "LoadedModel",
    "Model",
    "ModelKind",
    "ModelStatus",
    "Quantization",
    "Sae",
    "SaeSource",
    "Setting",
    "StoredRepoFacts",
    "Training",
    "TrainingMetric",
    "TrainingStatus",
    "Worker",
]
