"""What was done to a model and when."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import ErrorDetail, Schema, UtcTime


class HistoryEvent(Schema):
    """One thing that happened to a model."""

    at: UtcTime
    kind: Literal["download", "verify", "import", "quantize", "load", "unload", "generate", "files"] = Field(
        description="What was at work; `files` is what a look at the disk found."
    )
    event: Literal["started", "resumed", "taken_over", "paused", "done", "failed", "cancelled", "missing", "found"] = (
        Field(description="`taken_over`: its worker ended, and another one goes on.")
    )
    seconds: float | None = Field(
        description="How long it took, since it was started, last resumed or taken over by another worker."
    )
    bytes: int | None = Field(
        description="Bytes of the model that were fetched or read by then; of a load or unload, bytes in memory."
    )
    moved_bytes: int | None = Field(
        default=None,
        description="Of a download, verification or import: bytes fetched or read in these `seconds`.",
    )
    freed_bytes: int | None = Field(
        default=None, description="Of an unload: how much less its worker held afterwards; null where it ended."
    )
    error: ErrorDetail | None


class HistoryPage(Schema):
    """What was done to a model and when, the newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HISTORY_PAGE]})

    items: list[HistoryEvent]
    total: int
    limit: int
    offset: int
