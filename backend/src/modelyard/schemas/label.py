"""Requests about what people note about models."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from modelyard.schemas import examples
from modelyard.schemas.common import Schema

MAX_TAGS, MAX_TAG_LENGTH, MAX_NOTE_LENGTH = 20, 50, 10_000

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TAG_LENGTH)]


def _sorted(tags: list[str]) -> list[str]:
    return sorted(set(tags))


class LabelChange(Schema):
    """Changes the tags, note, favourite mark or pinned commit of a repository.

    Fields that are left out stay as they are.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.LABEL_CHANGE]})

    tags: Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_sorted)] = Field(
        default=[], description="Replaces all tags; an empty list removes them."
    )
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE_LENGTH)] = Field(
        default="", description="Plain text; an empty text removes the note."
    )
    favourite: bool = Field(default=False, description="Whether the repository is a favourite.")
    pinned_commit: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{40}([0-9a-f]{24})?$",
        description="Offer no update and keep downloads at this commit, which must be the model's; null: follow the"
        " branch again.",
    )
