"""Requests and answers about the Hugging Face cache and imports."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import ModelIdField, Schema

ImportMode = Literal["link", "copy"]


class CachedModel(Schema):
    """A snapshot of the Hugging Face cache that Modelyard does not manage."""

    model_id: str
    commit: str
    revisions: list[str]
    size_bytes: int
    importable: bool
    problem: str | None = Field(description="Why it cannot be imported as it is.")


class Leftover(Schema):
    """An unfinished file of a download."""

    model_id: str
    path: str
    size_bytes: int
    age_seconds: float


class CacheListing(Schema):
    """Content of the Hugging Face cache besides the managed models."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CACHE_LISTING]})

    items: list[CachedModel]
    leftovers: list[Leftover]


class FreedBytes(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"freed_bytes": 1073741824}]})

    freed_bytes: int


class ModelImportRequest(Schema):
    """Import a folder, a GGUF file, or a model of the Hugging Face cache."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_IMPORT_REQUEST]})

    path: str | None = Field(
        default=None,
        max_length=4096,
        description="Absolute path of a folder or GGUF file on the server's machine, inside a folder that it reads for"
        " users; or the name of a model of Ollama there, such as llama3.2:1b.",
        examples=["/data/my-model"],
    )
    model_id: ModelIdField | None = Field(
        default=None, description="Name of the imported model.", examples=["local/my-model"]
    )
    mode: ImportMode = Field(default="link", description="Of a folder: hard links (no extra space) or copies.")
    cached: ModelIdField | None = Field(
        default=None, description="A model of the cache instead of a folder.", examples=[None]
    )
    allow_unsupported: bool = Field(
        default=False, description="Import a model that the installed transformers cannot load."
    )
