"""Activations of a model: what is asked for, the answer at once, and sets of files."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from modelyard.core.statuses import QuantizationName
from modelyard.schemas import examples
from modelyard.schemas.common import ErrorDetail, Schema, UtcTime
from modelyard.schemas.interventions import HookPointName, InterventionsField

CaptureStatusName = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
ActivationsDtype = Literal["float32", "bfloat16", "float16"]
MAX_ROWS = 100_000_000
_TokenId = Annotated[int, Field(ge=0, lt=2**31)]
_Row = Annotated[int, Field(ge=0, le=MAX_ROWS)]
_Position = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class DatasetRows(Schema):
    """Rows of a text file on the server's machine."""

    id: str | None = Field(
        default=None, min_length=1, max_length=300, description="A data set's name, as in `GET /datasets`."
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Absolute path of a .jsonl, .txt or .parquet file instead.",
        examples=["/data/corpus.jsonl"],
    )
    column: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The column with the text; null: the only one that holds text, or `text` among several.",
        examples=["text"],
    )
    rows: tuple[_Row, _Row] | None = Field(
        default=None,
        description="The first row and the one after the last; null: all. Rows without text are not counted.",
        examples=[[0, 1000]],
    )

    @model_validator(mode="after")
    def _is_one(self) -> "DatasetRows":
        if (self.id is None) == (self.path is None):
            raise ValueError("Send exactly one of id and path")
        if self.rows is not None and self.rows[0] >= self.rows[1]:
            raise ValueError("The first row must come before the second")
        return self


class ActivationsRequest(Schema):
    """Read what hook points of a model return for texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ACTIVATIONS_REQUEST]})

    hook_points: list[HookPointName] = Field(
        min_length=1,
        max_length=1000,
        description="Names of modules as the architecture page lists them, or their names in TransformerLens.",
        examples=[["model.layers.4"]],
    )
    texts: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="Texts; exactly one of texts, token_ids and dataset.", examples=[["Hello world"]]
    )
    token_ids: Annotated[list[Annotated[list[_TokenId], Field(min_length=1)]], Field(min_length=1)] | None = Field(
        default=None, description="The token ids of each row instead.", examples=[None]
    )
    dataset: DatasetRows | None = Field(default=None, description="Rows of a text file instead.", examples=[None])
    positions: Literal["all", "last"] | Annotated[list[_Position], Field(min_length=1, max_length=100_000)] = Field(
        default="all",
        description="Which tokens of each row; negative ones count from its end, and those it has not are left out.",
        examples=["all"],
    )
    dtype: ActivationsDtype = Field(default="float32", description="Dtype of the answer.")
    save: bool = Field(default=False, description="Write files, however few they are.")
    max_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Cut each row off after so many tokens.", examples=[128]
    )
    batch_size: int = Field(default=8, ge=1, le=1024, description="Rows that are run together when files are written.")
    shard_bytes: int = Field(
        default=256_000_000, ge=1_000, le=10**12, description="Activations of about so many bytes go in one file."
    )
    interventions: InterventionsField = []

    @model_validator(mode="after")
    def _is_one(self) -> "ActivationsRequest":
        if sum(given is not None for given in (self.texts, self.token_ids, self.dataset)) != 1:
            raise ValueError("Send exactly one of texts, token_ids and dataset")
        if len(set(self.hook_points)) != len(self.hook_points):
            raise ValueError("A hook point is named twice")
        return self


class ActivationsTensor(Schema):
    """One hook point: `data` are little-endian values in base64, one row for each token."""

    shape: list[int]
    dtype: ActivationsDtype
    data: str


class ActivationsToken(Schema):
    """The token of one row of every tensor; `text` is null where the model has no tokenizer."""

    row: int
    position: int
    id: int
    text: str | None


class ActivationsResponse(Schema):
    """Activations of at most 16 MB; each row was run alone, without padding."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ACTIVATIONS_RESPONSE]})

    tensors: dict[str, ActivationsTensor]
    tokens: list[ActivationsToken]


class CaptureStep(Schema):
    """Batches that were run."""

    name: str
    done: int | None
    total: int | None


class CaptureProgress(Schema):
    """Progress of activations that are being written."""

    phase: str | None = Field(description="`loading`, `counting` or `capturing`; null before it began.")
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    waiting: bool = Field(description="No worker has taken this work yet.")
    stopping: bool = Field(description="It was asked to stop and has not stopped yet.")
    step: CaptureStep | None
    message: str | None = Field(description="For people only; its wording may change.")


class CaptureResponse(Schema):
    """A set of activations in files."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CAPTURE_RESPONSE]})

    id: str
    status: CaptureStatusName
    model_id: str | None = Field(description="The model's row; null once it was deleted.")
    model_name: str
    commit: str
    quantization: QuantizationName
    hook_points: list[str]
    positions: Literal["all", "last"] | list[int]
    dtype: ActivationsDtype
    rows: int | None = Field(description="This and the next two are null until the tokens are counted.")
    tokens: int | None = Field(description="Tokens that are kept.")
    estimated_bytes: int | None = Field(description="The exact size of all files but manifest.json.")
    progress: CaptureProgress | None = Field(description="Null once it has ended.")
    folder: str = Field(description="Where the files are, on the server's machine.")
    error: ErrorDetail | None
    created_at: UtcTime
    updated_at: UtcTime
    finished_at: UtcTime | None


class CapturePage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.CAPTURE_PAGE]})

    items: list[CaptureResponse]
    total: int
    limit: int
    offset: int
