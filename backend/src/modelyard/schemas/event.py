"""Messages of the WebSocket `/api/v1/events`."""

from typing import Annotated, Literal

from pydantic import Field

from modelyard.schemas.common import Schema
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.training import TrainingResponse

ModelEventType = Literal[
    "model.download.progress",
    "model.download.completed",
    "model.download.failed",
    "model.quantize.progress",
    "model.updated",
    "model.loaded",
    "model.unloaded",
]
TrainingEventType = Literal["training.progress", "training.updated"]


class SnapshotEvent(Schema):
    """The first message on a connection, repeated for a client that fell behind: all rows in progress."""

    type: Literal["snapshot"] = "snapshot"
    epoch: str = Field(description="Changes when the server restarts: fetch everything again.")
    seq: int
    models: list[ModelResponse]
    counts: dict[str, int] = Field(description="Models per status.")
    trainings: list[TrainingResponse] = Field(description="The runs in progress.")


class ModelEvent(Schema):
    """A model's current row."""

    type: ModelEventType
    epoch: str
    seq: int
    model: ModelResponse


class ModelDeletedEvent(Schema):
    """A model was deleted."""

    type: Literal["model.deleted"] = "model.deleted"
    epoch: str
    seq: int
    id: str


class TrainingEvent(Schema):
    """A training run's current state."""

    type: TrainingEventType
    epoch: str
    seq: int
    training: TrainingResponse


class TrainingDeletedEvent(Schema):
    """A training run was deleted."""

    type: Literal["training.deleted"] = "training.deleted"
    epoch: str
    seq: int
    id: str


class BatchEvent(Schema):
    """With `?batch=true`: all changes from `from_seq` to `seq`, with the newest state of each row."""

    type: Literal["batch"] = "batch"
    epoch: str
    from_seq: int
    seq: int
    models: list[ModelResponse]
    trainings: list[TrainingResponse]
    deleted: list[str] = Field(description="Ids of deleted models and training runs.")


Event = Annotated[
    SnapshotEvent | BatchEvent | ModelEvent | ModelDeletedEvent | TrainingEvent | TrainingDeletedEvent,
    Field(discriminator="type"),
]
