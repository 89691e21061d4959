"""Texts of repositories: model cards and other text files."""

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import Schema


class ModelCard(Schema):
    """The README.md of a repository; empty where it has none."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_CARD]})

    html: str = Field(description="Safe to show: known tags only, links to other sites, nothing that is fetched.")
    text: str = Field(description="As it was written, in Markdown.")
    truncated: bool = Field(description="Whether only its beginning is here: the first 100 kB.")


class TextFile(Schema):
    """A text file of an installed model."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TEXT_FILE]})

    path: str
    text: str
    size_bytes: int = Field(description="Of the whole file.")
    truncated: bool = Field(description="Whether only its beginning is here: the first 500 kB.")
