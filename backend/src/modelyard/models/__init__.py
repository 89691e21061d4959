"""SQLAlchemy tables, one per file."""

from modelyard.models.base import Base
from modelyard.models.inspection import Inspection
from modelyard.models.job import Job, JobControl, JobKind, JobState
from modelyard.models.loaded_model import LoadedModel
from modelyard.models.model import ACTIVE_STATUSES, RESTARTABLE_STATUSES, Model, ModelStatus, Quantization
from modelyard.models.setting import Setting
from modelyard.models.worker import Worker

__all__ = [
    "ACTIVE_STATUSES",
    "RESTARTABLE_STATUSES",
    "Base",
    "Inspection",
    "Job",
    "JobControl",
    "JobKind",
    "JobState",
    "LoadedModel",
    "Model",
    "ModelStatus",
    "Quantization",
    "Setting",
    "Worker",
]
