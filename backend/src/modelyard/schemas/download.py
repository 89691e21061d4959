"""Requests and answers about models on a Hub and downloads."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import QuantizationName, StatusName
from modelyard.schemas import examples
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.common import ModelIdField, Reason, Schema, UtcTime
from modelyard.schemas.memory import VerdictName
from modelyard.schemas.model import AdapterFacts, TrainingVerdict

SearchSort = Literal["downloads", "likes", "trending", "updated"]

AccessName = Literal["open", "accepted", "needs_acceptance", "no_token", "token_invalid", "unknown"]


class ModelDownloadRequest(Schema):
    """Download a model in one precision."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_DOWNLOAD_REQUEST]})

    model_id: ModelIdField
    revision: str | None = Field(
        default=None,
        max_length=200,
        description="Branch, tag or commit; the default branch when null.",
        examples=["main"],
    )
    quantization: QuantizationName = Field(
        default="none",
        description="Precision to keep it in; none: as stored. Of an adapter, that of the base fetched with it.",
        examples=["4bit"],
    )
    keep_original: bool = Field(default=True, description="Keep the original files after a quantized copy is made.")
    allow_pickle: bool = Field(
        default=False, description="Accept pickle weights (.bin) if the repository has no safetensors."
    )
    allow_unsupported: bool = Field(
        default=False,
        description="Download a model that the installed transformers cannot load, for use with other programs.",
    )
    gguf_file: str | None = Field(
        default=None,
        max_length=1024,
        description="Fetch this GGUF file of the repository and convert it to safetensors; the first of split files.",
        examples=[None],
    )
    with_base: bool = Field(
        default=False, description="Download the base of an adapter, too, unless it is here. Ignored for a model."
    )


class FilePlan(Schema):
    """One file of a repository and whether it is fetched."""

    path: str
    size_bytes: int | None
    sha256: str | None
    fetch: bool
    reason: str


class Support(Schema):
    """Whether Modelyard can load the model."""

    level: Literal["supported", "unverified", "unsupported"]
    reasons: list[Reason]


class GgufFile(Schema):
    """A GGUF file of a repository, or one split over several; what its header says is null until it was read."""

    path: str = Field(description="What `gguf_file` of a download names: the first part of a split file.")
    size_bytes: int = Field(description="Of all its parts.")
    quantization_type: str | None = Field(description="Such as Q4_K_M.")
    weights_bytes: int | None = Field(description="What its weights take once they are converted, in `dtype`.")
    num_parameters: int | None
    dtype: str | None = Field(description="What its weights are converted to.")
    architecture: str | None = Field(description="As GGUF names it, such as llama.")
    context_length: int | None = Field(description="Tokens.")
    has_chat_template: bool | None
    problem: str | None = Field(description="Why it cannot be converted.")


class AdapterBase(Schema):
    """The base of an adapter: a row of this instance, or what a download of it would fetch, unquantized."""

    id: str | None = Field(description="Id of the row that the adapter will work with; null if none is here.")
    status: StatusName | None = Field(description="Status of that row.")
    quantization: QuantizationName | None = Field(description="Precision of that row.")
    size_bytes: int | None = Field(description="Bytes of its files.")
    missing_bytes: int | None = Field(description="Bytes that a download would transfer; 0 if it is here.")
    problem: str | None = Field(description="Why it cannot be downloaded.")


class AdapterPreview(AdapterFacts):
    """An adapter on the Hub and its base."""

    memory_bytes: int = Field(description="Memory that it takes in addition to its base.")
    base: AdapterBase | None = Field(description="Null for a folder.")


class ModelInfo(Schema):
    """A model on the Hub, before anything is downloaded."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_INFO]})

    model_id: str
    canonical_id: str
    commit: str
    endpoint: str
    architecture: str | None
    model_type: str | None
    dimensions: Dimensions
    num_parameters: int | None
    dtype: str | None
    size_bytes: int = Field(description="Bytes of the files that would be fetched.")
    missing_bytes: int = Field(description="Bytes that a download would transfer; the rest is already in the cache.")
    files: list[FilePlan]
    licence: str | None
    access: AccessName
    tags: list[str]
    downloads: int | None
    likes: int | None
    last_modified: UtcTime | None
    has_tokenizer: bool
    needs_custom_code: bool
    already_quantized: str | None = Field(description="Quantization method of already quantized weights.")
    support: Support
    adapter: AdapterPreview | None = Field(description="Of a PEFT adapter that can be downloaded.")
    gguf_files: list[GgufFile] = Field(description="What can be chosen of a repository with GGUF files.")
    training: TrainingVerdict
    warnings: list[str]


class SearchItem(Schema):
    """One model of a search on a Hub."""

    model_id: str
    downloads: int | None
    likes: int | None
    num_parameters: int | None
    size_bytes: int | None
    access: AccessName
    pipeline_tag: str | None
    licence: str | None
    model_type: str | None = Field(description="As config.json names it, such as llama; what `architecture` searches.")
    weights_bytes: int | None = Field(
        description="Approximate memory of the weights alone, in the `precision` that was asked for; null where the "
        "Hub has not counted them, or where they are quantized already and another precision was asked for."
    )
    fits: VerdictName = Field(
        description="Whether `weights_bytes` fits this machine now: its roomiest GPU, or its memory."
    )
    installed: bool
    is_sample: bool = Field(default=False, description="A small model with random weights, for trying Modelyard out.")


class CollectionInfo(Schema):
    """The models of a collection on the Hub."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.COLLECTION]})

    slug: str
    title: str
    model_ids: list[str]
    left_out: int = Field(description="Number of items that are no models: data sets, papers, spaces.")


class SearchPage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.SEARCH_PAGE]})

    items: list[SearchItem]
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null at the end. A page may hold fewer models than `limit`."
    )
