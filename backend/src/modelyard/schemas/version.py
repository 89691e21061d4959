"""Requests and answers about versions of a model: updates and rolling back."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import Schema

ChangeName = Literal["weights", "tokenizer", "template", "config", "readme", "other"]


class UpdatePlan(Schema):
    """What changes with another version of a model, and what it takes to get it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.UPDATE_PLAN]})

    commit: str = Field(description="Commit on the Hub of the other version; the model's own if there is none.")
    changed: list[ChangeName] = Field(
        description="Kinds of files that differ; empty if only files differ that are not downloaded."
    )
    fetch_bytes: int = Field(description="Bytes to download. Files that the cache holds already are not fetched again.")
    id: str | None = Field(
        description="Id of the row that holds the version in this precision and is ready; null if there is none yet."
    )
    makes_copy: bool = Field(description="Whether a quantized copy of the other version has to be made.")


class RollbackRequest(Schema):
    """Use another version of a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ROLLBACK_REQUEST]})

    commit: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{7,64}$",
        description="Commit on the Hub, in full, or the beginning of an installed one; the previous version if null.",
    )
