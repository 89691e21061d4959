"""Requests and answers about training runs and their data sets."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import QuantizationName, TrainingStatusName
from modelyard.schemas import examples
from modelyard.schemas.architecture import Dimensions, HookPoint
from modelyard.schemas.common import DtypeName, ErrorDetail, Reason, Schema, UtcTime
from modelyard.schemas.memory import FastDtype

TrainingPhase = Literal["making_room", "starting", "loading", "checking", "filling_buffer", "training", "saving"]
SaeArchitectureName = Literal["topk", "batchtopk", "matryoshka", "standard"]
CompatibilityLevel = Literal["static", "structural", "live"]


class DatasetChoice(Schema):
    """A text file on the server's machine."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="Absolute path of a .jsonl, .txt or .parquet file, as returned by `POST /datasets` or inside a"
        " folder that the server reads for users.",
        examples=["/data/corpus.jsonl"],
    )
    column: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The column with the text; null: the only one that holds text, or `text` among several.",
        examples=["text"],
    )


class TrainingCreate(Schema):
    """Train a sparse autoencoder on the activations of one hook point while the model reads texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_CREATE]})

    model_id: str = Field(max_length=64, description="A row's id, as in the list of models.")
    hook_point: str = Field(
        min_length=1,
        max_length=500,
        description="A path among the hook points of the model's training compatibility.",
        examples=["model.layers.8"],
    )
    dataset: DatasetChoice = Field(description="The texts that the model reads.")
    architecture: SaeArchitectureName = Field(default="topk", description="The kind of sparse autoencoder.")
    expansion_factor: int = Field(default=8, ge=2, le=64, description="Features per dimension of the activations.")
    k: int | None = Field(
        default=None,
        ge=1,
        description="Features active at once, for all but `standard`; null: 32 below a width of 1024, else 64.",
        examples=[32],
    )
    l1_coefficient: float | None = Field(
        default=None, gt=0, le=1000, allow_inf_nan=False, description="Only for `standard`; null: 1.0.", examples=[None]
    )
    training_tokens: int = Field(
        default=2_000_000, ge=1, le=10**12, description="Activations trained on; a short file is read again."
    )
    context_size: int = Field(default=256, ge=32, le=4096, description="Tokens the model reads at once.")
    learning_rate: float = Field(
        default=3e-4, gt=0, le=1, allow_inf_nan=False, description="Of the optimizer; smaller where a run diverges."
    )
    batch_tokens: int = Field(default=4096, ge=64, le=65_536, description="Activations per training step.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="The same seed begins with the same weights.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda:\d{1,3})$",
        description="Where it runs; auto: the accelerator with the most free memory, else the CPU.",
        examples=["auto", "cpu", "cuda:0"],
    )
    dtype: DtypeName = Field(
        default="auto",
        description="The model's precision while it is trained on; `auto`: as it is stored. For quantized models only"
        " `auto`.",
    )
    beginning: str = Field(
        default="auto",
        min_length=1,
        max_length=100,
        description="What every context begins with; auto: the tokenizer's beginning-of-text token where it has one;"
        " none: the text itself; else one of the tokenizer's special tokens.",
        examples=["auto", "none", "<|endoftext|>"],
    )
    skip_positions: int = Field(
        default=2,
        ge=0,
        le=16,
        description="Positions at the beginning of every context that are not trained on. In many models their"
        " activations are outliers, which would decide the loss and the explained variance.",
    )
    checkpoint_seconds: int = Field(
        default=600, ge=1, le=86_400, description="Seconds between two saved states, from which a run can be resumed."
    )


class UnloadedForRun(Schema):
    """An idle loaded model."""

    id: str
    name: str
    measured_bytes: int


class TrainingPlan(Schema):
    """The memory and disk a run needs, in bytes. `fits` is null if the memory of its machine is not known."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_PLAN]})

    d_in: int = Field(description="The width of the hook point, as found in the model.")
    d_sae: int
    parameters: int = Field(description="Parameters of the sparse autoencoder.")
    steps: int
    k: int | None
    model_bytes: int | None = Field(description="The loaded model; null where it is not known.")
    forward_bytes: int
    sae_bytes: int = Field(description="Weights, gradients and the optimizer's state.")
    batch_bytes: int
    buffer_bytes: int
    process_bytes: int
    total_bytes: int
    checkpoint_bytes: int = Field(description="On the disk, while the run lasts.")
    output_bytes: int = Field(description="On the disk, in the end.")
    device: str
    free_bytes: int | None
    usable_bytes: int | None = Field(
        description="The part of the memory that a plan may use: of what is free and of what `unloads` frees."
    )
    unloads: list[UnloadedForRun] = Field(
        description="Idle models that are unloaded when the run starts, because it needs their memory. Models that are"
        " pinned or in use stay."
    )
    fits: bool | None
    dataset_column: str = Field(description="The column that is read.")
    dataset_columns: list[str] = Field(description="Those that hold text.")
    fast_dtype: FastDtype | None = Field(
        default=None, description="Set where the machine's processor is slower in the precision the model is stored in."
    )
    fast_dtype_bytes: int | None = Field(
        default=None, description="Additional bytes of the loaded model in `fast_dtype`."
    )
    beginning_token: str | None = Field(
        description="The token every context begins with; null: none, or the tokenizer cannot be read here."
    )
    beginning_tokens: list[str] = Field(description="The special tokens that `beginning` may name.")
    dataset_tokens: int | None = Field(
        description="About how many tokens the column has, judged by its first rows; null where those hold no text."
    )
    dataset_counted: bool = Field(
        description="Whether the whole column was counted, so that `dataset_tokens` is exact."
    )
    epochs: float | None = Field(description="About how many times the file is read.")
    refusal: ErrorDetail | None = Field(description="Why the run would not be started.")


class TrainingProgress(Schema):
    phase: TrainingPhase | None = Field(
        description="`starting`: importing the libraries; `filling_buffer`: gathering activations for the first step."
    )
    tokens_done: int
    tokens_total: int
    tokens_per_second: float | None = Field(description="Including the time for gathering activations.")
    eta_seconds: float | None


class TrainingMetrics(Schema):
    """Figures of the last reported step."""

    mse: float | None = Field(description="Squared error of a token's activations, summed over their width.")
    explained_variance: float | None = Field(
        description="Of one step's batch, pooled over its tokens, so a few tokens of large norm dominate it."
    )
    explained_variance_per_token: float | None = Field(
        default=None, description="Mean over the tokens of the same batch."
    )
    held_out_explained_variance: float | None = Field(
        default=None,
        description="Of text that is not trained on; 1 is perfect, below 0 is worse than the mean. Null if less than"
        " one context of text could be held out.",
    )
    held_out_explained_variance_per_token: float | None = Field(
        default=None, description="Mean over the tokens of that text."
    )
    l0: float | None = Field(description="Features active per token.")
    dead_features: int | None = Field(
        description="Features not active for a quarter of the run's steps, at most 1,000; null before that many steps."
    )


class TrainingResponse(Schema):
    """A training run and its state."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_RESPONSE]})

    id: str
    status: TrainingStatusName
    model_id: str | None = Field(description="Id of the model's row; null after it was deleted.")
    model_name: str
    commit: str
    quantization: QuantizationName
    hook_point: str
    dataset: DatasetChoice
    architecture: SaeArchitectureName
    expansion_factor: int
    k: int | None
    l1_coefficient: float | None
    training_tokens: int
    context_size: int
    learning_rate: float
    batch_tokens: int
    seed: int
    device: str = Field(description="As requested; `plan.device` is the device that `auto` chose.")
    dtype: DtypeName
    beginning: str
    skip_positions: int
    checkpoint_seconds: int
    d_in: int
    d_sae: int
    progress: TrainingProgress
    metrics: TrainingMetrics | None
    plan: TrainingPlan
    engine: str | None
    output_path: str | None = Field(description="The folder for `SAE.load_from_disk`, once it is completed.")
    error: ErrorDetail | None
    resumable: bool
    job_id: str | None
    created_at: UtcTime
    updated_at: UtcTime
    started_at: UtcTime | None
    finished_at: UtcTime | None


class TrainingPage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_PAGE]})

    items: list[TrainingResponse]
    total: int
    limit: int
    offset: int


class TrainingMetricPoint(TrainingMetrics):
    """One point of the curve."""

    step: int
    tokens: int
    tokens_per_second: float | None
    created_at: UtcTime


class TrainingCurve(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_CURVE]})

    items: list[TrainingMetricPoint]


class TrainingLog(Schema):
    """Output of a run's process."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_LOG]})

    text: str = Field(description="Whole lines, times in UTC.")
    position: int = Field(description="Bytes of the log up to the end of `text`: `after` of the next request.")
    skipped_bytes: int = Field(description="Bytes left out between `after` and `text` because the answer is limited.")


class TrainingCompatibility(Schema):
    """Whether a model can be trained on. `compatible` is null if that could not be verified; a run may still start."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRAINING_COMPATIBILITY]})

    compatible: bool | None
    level: CompatibilityLevel = Field(
        description="What was checked: the configuration, the structure, or the loaded model."
    )
    reasons: list[Reason]
    dimensions: Dimensions
    hook_points: list[HookPoint] = Field(description="Modules to train on: those that output one vector per token.")


class DatasetResponse(Schema):
    """An uploaded data set."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET_RESPONSE]})

    path: str
    rows: int
    columns: list[str] = Field(description="Those that hold text.")
    size_bytes: int


class DatasetUser(Schema):
    """A run that uses or used a data set."""

    id: str
    status: TrainingStatusName


class StoredDataset(Schema):
    """An uploaded file."""

    name: str
    path: str
    size_bytes: int
    created_at: UtcTime
    used_by: list[DatasetUser] = Field(
        description="Runs that use it, newest first. It cannot be deleted while one is in progress."
    )


class DatasetList(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET_LIST]})

    items: list[StoredDataset]
