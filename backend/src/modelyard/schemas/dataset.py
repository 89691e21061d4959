"""Answers about data sets on a Hub."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import ErrorDetail, Schema, UtcTime
from modelyard.schemas.download import AccessName

DatasetSort = Literal["downloads", "likes", "trending", "updated"]


class DatasetSearchItem(Schema):
    repo_id: str
    downloads: int | None
    likes: int | None
    access: AccessName
    licence: str | None
    rows: str | None = Field(description="The range that its author gave, such as 10K<n<100K.")
    last_modified: UtcTime | None


class DatasetSearchPage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET_SEARCH_PAGE]})

    items: list[DatasetSearchItem]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end.")


class DatasetSplit(Schema):
    name: str
    format: Literal["parquet", "jsonl", "text"] | None = Field(
        description="Kind of its files; null: of another kind, which is not read here, or of several."
    )
    files: int
    size_bytes: int | None = Field(description="Of its files; null where the Hub does not say.")
    rows: int | None = Field(description="Null where nobody has counted them.")
    rows_counted: bool = Field(description="Whether `rows` was read from the files; else the data set's card says so.")


class DatasetConfig(Schema):
    name: str
    splits: list[DatasetSplit]


class DatasetColumn(Schema):
    name: str
    type: str = Field(examples=["string"])


class DatasetInfo(Schema):
    """A data set on a Hub, with a look into one of its splits."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET_INFO]})

    repo_id: str
    commit: str
    access: AccessName
    licence: str | None
    downloads: int | None
    likes: int | None
    last_modified: UtcTime | None
    configs: list[DatasetConfig] = Field(description="Configurations that have files, at most 500.")
    config: str | None = Field(description="The configuration that `columns` and `first_rows` are of.")
    split: str | None = Field(description="The split that `columns` and `first_rows` are of.")
    columns: list[DatasetColumn] | None = Field(
        description="At most 200; null where the files were not read: see `problem` and `access`."
    )
    first_rows: list[dict[str, str | int | float | bool | None]] | None = Field(
        description="At most 10, with texts cut to 1,000 characters and values with parts as JSON text; null where the"
        " files were not read, or would take more than 16 MB to read."
    )
    problem: ErrorDetail | None = Field(description="Why the split could not be read.")
