"""Requests and answers about sparse autoencoders."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import QuantizationName, SaeSourceName
from modelyard.schemas import sae_examples as examples
from modelyard.schemas.common import DtypeName, ErrorDetail, Schema, UtcTime
from modelyard.schemas.model import UsedBy
from modelyard.schemas.training import DatasetChoice

SaeStatusName = Literal["downloading", "ready", "failed", "cancelled"]
SaeWorkName = Literal["download", "evaluate", "features"]
SaeWorkState = Literal["waiting", "running", "stopping", "done", "failed", "cancelled"]
SaeWarningCode = Literal[
    "model_not_installed",
    "unknown_model",
    "unknown_hook_point",
    "transformer_lens",
    "width_mismatch",
    "other_precision",
    "other_commit",
    "files_missing",
]


class SaeImport(Schema):
    """Put a sparse autoencoder of a folder on the shelf."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_IMPORT]})

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="Absolute path of a folder on the server's machine with cfg.json and sae_weights.safetensors.",
    )
    name: str | None = Field(default=None, min_length=1, max_length=200, description="Null: the folder's name.")


class SaeDownload(Schema):
    """Fetch a sparse autoencoder in SAELens's format from the Hub in use."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_DOWNLOAD]})

    repo_id: str = Field(min_length=1, max_length=500, description="The repository, `owner/name`.")
    path: str = Field(
        default="", max_length=1024, description="The folder in it that holds cfg.json; empty: the repository itself."
    )
    revision: str | None = Field(
        default=None, min_length=1, max_length=200, description="Branch, tag or commit; null: the default branch."
    )


class _SaeReading(Schema):
    """A text, and the model that reads it."""

    dataset: DatasetChoice
    tokens: int
    model_id: str | None = Field(
        default=None, max_length=64, description="A row of `compatible_with`; null: the one most like the trained one."
    )
    dtype: DtypeName = Field(
        default="auto", description="The model's precision; `auto`: as trained. For quantized models only `auto`."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda:\d{1,3})$",
        description="Where it runs; auto: an accelerator, else the CPU.",
        examples=["auto", "cpu", "cuda:0"],
    )


class SaeEvaluate(_SaeReading):
    """Judge a sparse autoencoder on a text."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_EVALUATE]})

    dataset: DatasetChoice = Field(
        description="The text. Of the text that the SAE was trained on here, only the rows kept back are read."
    )
    tokens: int = Field(default=50_000, ge=64, le=10_000_000, description="How much is read, at most.")


class SaeFeaturesBuild(_SaeReading):
    """Look for what the features of a sparse autoencoder stand for."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_FEATURES_BUILD]})

    dataset: DatasetChoice = Field(description="The text that passages are taken from; all of its rows are read.")
    tokens: int = Field(default=200_000, ge=64, le=100_000_000, description="How much is read, at most.")
    top: int = Field(default=20, ge=1, le=100, description="Passages for each feature.")


class SaeWarning(Schema):
    """A difference to what the SAE was trained on; `model_id` is the id of a row, null where it is about none."""

    code: SaeWarningCode
    message: str
    model_id: str | None = None


class SaeWork(Schema):
    """The last work on an SAE."""

    kind: SaeWorkName
    state: SaeWorkState
    phase: str | None
    done: int = Field(description="Bytes of a download, else tokens.")
    total: int | None
    bytes_per_second: float | None = Field(description="Of a download.")
    eta_seconds: float | None
    message: str | None = Field(description="For people only; its wording may change.")
    error: ErrorDetail | None
    created_at: UtcTime
    finished_at: UtcTime | None


class DensityHistogram(Schema):
    """How many features are active on which share of the tokens. Features that never are, are not in it."""

    edges: list[float] = Field(description="Of the bins, as powers of ten: -3 is one token in a thousand.")
    counts: list[int]


class SaeEvaluation(Schema):
    """How well an SAE reconstructs a model's activations on a text, and what the model loses with it."""

    tokens: int = Field(description="Tokens that were compared.")
    dataset: DatasetChoice
    held_out: bool = Field(description="Whether only rows that its training kept back were read.")
    model_row_id: str = Field(description="Id of the row of the model.")
    quantization: QuantizationName = Field(description="Precision of that model.")
    context_size: int
    skip_positions: int = Field(description="Positions at the beginning of every context that were left as they are.")
    explained_variance: float | None = Field(description="Pooled over all tokens; 1 is perfect.")
    explained_variance_per_token: float | None = Field(description="Mean over the tokens.")
    mse: float | None
    cosine: float | None = Field(description="Mean similarity of activations and reconstructions.")
    l0: float | None = Field(description="Features active per token.")
    dead_features: int = Field(description="Features never active on this text.")
    dense_features: int = Field(description="Features active on more than a tenth of the tokens.")
    density_histogram: DensityHistogram
    ce_clean: float | None = Field(description="Cross-entropy of the model, in nats per token.")
    ce_reconstructed: float | None = Field(description="With the reconstruction in the place of the activations.")
    ce_zero: float | None = Field(description="With zeros in their place.")
    loss_recovered: float | None = Field(description="(ce_zero - ce_reconstructed) / (ce_zero - ce_clean).")
    shrinkage: float | None = Field(description="Mean ratio of the norms of reconstruction and activations.")
    relative_reconstruction_bias: float | None = Field(description="Below 1: reconstructions are too short.")
    engine: str
    evaluated_at: UtcTime


class SaeFeaturesFacts(Schema):
    """What an SAE's feature pages were built of."""

    dataset: DatasetChoice
    tokens: int
    top: int = Field(description="Passages for each feature, at most.")
    active_features: int = Field(description="Features that are active anywhere in this text.")
    final_norm: str | None = Field(
        description="The norm whose weight is part of the promoted tokens; null: none is, or there are none."
    )
    model_row_id: str
    size_bytes: int
    built_at: UtcTime


class SaeResponse(Schema):
    """A sparse autoencoder on the shelf."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_RESPONSE]})

    id: str
    name: str
    status: SaeStatusName
    model_id: str | None = Field(description="The model it was trained on, as its files name it.")
    commit: str | None
    quantization: QuantizationName | None = Field(description="Precision of that model; null where it is not known.")
    dtype: str | None = Field(description="Dtype of that model; null where it is not known.")
    hook_point: str | None
    d_in: int | None
    d_sae: int | None
    architecture: str | None
    context_size: int | None
    source: SaeSourceName
    training_id: str | None
    repo_id: str | None
    repo_commit: str | None
    repo_path: str | None
    folder: str = Field(description="Where its files are, or will be, on the server's machine.")
    size_bytes: int | None
    evaluation: SaeEvaluation | None
    features: SaeFeaturesFacts | None
    compatible_with: list[str] = Field(description="Ids of the rows of installed models that it fits.")
    warnings: list[SaeWarning]
    work: SaeWork | None
    used_by: list[UsedBy]
    created_at: UtcTime
    updated_at: UtcTime


class SaePage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_PAGE]})

    items: list[SaeResponse]
    total: int
    limit: int
    offset: int
