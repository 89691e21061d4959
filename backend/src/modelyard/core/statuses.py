"""The states and kinds of models, jobs and runs, as they are stored and as they go over the wire.

An enum that the API shows has its values beside it as a Literal, for the API's description, options of commands and
dictionaries of answers; a test compares the two.
"""

from enum import StrEnum
from typing import Literal


class Quantization(StrEnum):
    NONE = "none"
    EIGHT_BIT = "8bit"
    FOUR_BIT = "4bit"


QuantizationName = Literal["none", "8bit", "4bit"]
CopyQuantizationName = Literal["8bit", "4bit"]
"""The precisions of a quantized copy."""


class ModelKind(StrEnum):
    MODEL = "model"
    ADAPTER = "adapter"
    """A PEFT adapter: works only together with the model that it changes, its base."""


KindName = Literal["model", "adapter"]


class ModelStatus(StrEnum):
    PENDING = "pending"
    DOWNLOADING = "downloading"
    PAUSED = "paused"
    QUANTIZING = "quantizing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSING = "missing"
    DELETING = "deleting"


StatusName = Literal[
    "pending", "downloading", "paused", "quantizing", "ready", "failed", "cancelled", "missing", "deleting"
]


ACTIVE_STATUSES = (ModelStatus.PENDING, ModelStatus.DOWNLOADING, ModelStatus.QUANTIZING, ModelStatus.DELETING)
"""Something is happening to the row right now."""

RESTARTABLE_STATUSES = (ModelStatus.FAILED, ModelStatus.CANCELLED, ModelStatus.MISSING)
"""Asking for the same download again starts it again."""


class JobKind(StrEnum):
    DOWNLOAD = "download"
    VERIFY = "verify"
    IMPORT = "import"
    QUANTIZE = "quantize"
    LOAD = "load"
    UNLOAD = "unload"
    GENERATE = "generate"
    TRAIN = "train"
    DRIFT = "drift"
    EMBED = "embed"
    MERGE = "merge"
    FETCH_SAE = "fetch_sae"
    EVALUATE_SAE = "evaluate_sae"
    BUILD_FEATURES = "build_features"
    EXPORT = "export"
    """Write models into a bundle."""
    UNPACK = "unpack"
    """Bring the models of a bundle into the cache."""
    ACTIVATIONS = "activations"
    CAPTURE = "capture"
    LENS = "lens"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED_STATES = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class JobControl(StrEnum):
    """What the user wants of a job; its worker reads it with every heartbeat."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class EventKind(StrEnum):
    """What was at work; the first eight are those of `JobKind` that work on a model."""

    DOWNLOAD = "download"
    VERIFY = "verify"
    IMPORT = "import"
    QUANTIZE = "quantize"
    LOAD = "load"
    UNLOAD = "unload"
    GENERATE = "generate"
    MERGE = "merge"
    FILES = "files"
    """Nobody's work: what a look at the disk found."""
    VERSION = "version"
    """Nobody's work: it took the place of another version."""


HistoryKindName = Literal[
    "download", "verify", "import", "quantize", "load", "unload", "generate", "merge", "files", "version"
]


class EventName(StrEnum):
    STARTED = "started"
    RESUMED = "resumed"
    TAKEN_OVER = "taken_over"
    """Its worker ended, another one goes on."""
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSING = "missing"
    FOUND = "found"


HistoryEventName = Literal[
    "started", "resumed", "taken_over", "paused", "done", "failed", "cancelled", "missing", "found"
]


class BundleKind(StrEnum):
    EXPORT = "export"
    IMPORT = "import"


BundleKindName = Literal["export", "import"]


class BundleStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


BundleStatusName = Literal["pending", "running", "paused", "ready", "failed", "cancelled"]


ACTIVE_BUNDLE_STATUSES = (BundleStatus.PENDING, BundleStatus.RUNNING)
"""Work on the bundle is under way or waits for a worker."""


class TrainingStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"


TrainingStatusName = Literal["pending", "running", "cancelling", "cancelled", "failed", "completed"]


ACTIVE_TRAINING_STATUSES = (TrainingStatus.PENDING, TrainingStatus.RUNNING, TrainingStatus.CANCELLING)
"""The run needs its model's files."""

RESUMABLE_TRAINING_STATUSES = (TrainingStatus.CANCELLED, TrainingStatus.FAILED)


class SaeSource(StrEnum):
    TRAINED = "trained"
    IMPORTED = "imported"
    HUB = "hub"


SaeSourceName = Literal["trained", "imported", "hub"]
