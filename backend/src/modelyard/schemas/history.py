"""Answers about a model's history."""

from pydantic import ConfigDict, Field

from modelyard.core.statuses import HistoryEventName, HistoryKindName
from modelyard.schemas import examples
from modelyard.schemas.common import ErrorDetail, Schema, UtcTime


class HistoryEvent(Schema):
    """One thing that happened to a model."""

    at: UtcTime
    kind: HistoryKindName = Field(
        description="The kind of work; `files` is a check of the disk, `version` that it became the version in use."
    )
    event: HistoryEventName = Field(description="`taken_over`: its worker ended, and another one continues.")
    seconds: float | None = Field(description="Seconds since it was started, last resumed or taken over.")
    bytes: int | None = Field(
        description="Bytes of the model fetched or read so far; for a load or unload, bytes in memory."
    )
    moved_bytes: int | None = Field(
        default=None,
        description="Bytes fetched or read in these `seconds`, for downloads, verifications and imports.",
    )
    freed_bytes: int | None = Field(default=None, description="Memory freed by an unload; null if its worker ended.")
    error: ErrorDetail | None


class HistoryPage(Schema):
    """One page of a model's history, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HISTORY_PAGE]})

    items: list[HistoryEvent]
    total: int
    limit: int
    offset: int
