"""The models of this instance as they go over the wire."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.common import ErrorDetail, QuantizationName, Reason, Schema, UtcTime

StatusName = Literal[
    "pending", "downloading", "paused", "quantizing", "ready", "failed", "cancelled", "missing", "deleting"
]
WorkName = Literal["download", "verify", "import", "quantize", "load"]
StepName = Literal["starting", "waiting", "making_room", "building", "reading", "quantizing", "checking", "finishing"]
PhaseName = Literal["resolving", "downloading", "verifying", "retrying", "quantizing", "checking", "loading"]


class ModelCreate(Schema):
    """A row to be made: a model whose commit is known."""

    model_id: str
    canonical_id: str
    endpoint: str
    revision: str
    commit: str
    quantization: QuantizationName = "none"
    keep_original: bool = True
    allow_pickle: bool = False
    gated: bool = False
    private: bool = False


class ProgressStep(Schema):
    """Which part of the work is under way."""

    name: StepName
    done: int | None = Field(description="Pieces of it, such as parameters or layers; null where none are counted.")
    total: int | None


class Progress(Schema):
    """Where the work on a model stands."""

    work: WorkName = Field(description="What kind of work it is; cancelling a check takes nothing away.")
    phase: PhaseName
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None = Field(description="Over the last seconds; 0 when nothing flows.")
    eta_seconds: float | None = Field(description="Null until the rate is stable.")
    files_done: int
    files_total: int | None
    waiting: bool = Field(description="No worker has taken this work yet.")
    stopping: bool = Field(description="It was asked to stop and has not stopped yet.")
    step: ProgressStep | None = Field(description="Of a load or a quantization; null while nothing is known of it.")
    message: str | None = Field(
        description='For people only, such as "retrying in 4 s (connection reset)"; its wording may change.'
    )


class UsedBy(Schema):
    """What holds a model in use."""

    kind: Literal["loaded", "training"]
    id: str
    name: str
    dtype: str | None = Field(default=None, description="Of a loaded model: what it was loaded in; auto: as stored.")
    measured_bytes: int | None = Field(default=None, description="Of a loaded model: what it holds in memory.")


class LastUnload(Schema):
    """What came back when the same model was unloaded the last time; bytes."""

    freed_bytes: int = Field(description="How much less its worker held afterwards.")
    held_before_bytes: int = Field(description="What the model's tensors held.")
    mapped_bytes: int = Field(
        default=0, description="Of these, mapped from its files and not in memory: they could not come back."
    )


class Drift(Schema):
    """The distance between a quantized model and its source, on the same prompts.

    Where no comparison was possible, the figures are null and `reason` says why. Of a model without a language head
    only cosines are given.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DRIFT]})

    prompts: int
    tokens: int = Field(description="Positions compared, over all prompts.")
    compared_dtype: str | None = Field(description="The dtype the source was run in.")
    kl_mean: float | None = Field(
        description="Kullback-Leibler divergence of the distribution over tokens from the source's, in nats."
    )
    kl_max: float | None
    top1_agreement: float | None = Field(description="Share of positions where both put the same token first.")
    perplexity: float | None = Field(
        default=None, description="The quantized model's on these prompts; null where they are not text."
    )
    source_perplexity: float | None = Field(default=None, description="The source's on the same prompts.")
    residual_cosine: list[float] = Field(
        description="Mean cosine of what enters layer 0 and of what each layer returns; may be empty."
    )
    output_cosine: float | None = Field(
        default=None,
        description="Mean cosine of the final hidden states, after the final norm; null where it was not measured.",
    )
    reason: str | None


class ModelError(ErrorDetail):
    """Why something failed that was done to a model."""

    during: Literal["load", "unload"] | None = Field(
        default=None, description="Which request failed for a model that is ready; null for the work on its files."
    )


class TrainingVerdict(Schema):
    """Whether a sparse autoencoder could be trained on the model, judged by configuration and file names alone."""

    compatible: bool | None = Field(description="null where that cannot be told before the model is here.")
    reasons: list[Reason]


RestartName = Literal["download", "verify", "import", "quantize"]


class ModelResponse(Dimensions):
    """A model Modelyard manages: one snapshot in one precision."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_RESPONSE]})

    id: str
    model_id: str = Field(description="The name that was asked for.", examples=["Qwen/Qwen3-0.6B"])
    canonical_id: str = Field(description="What the Hub calls it.")
    name: str
    endpoint: str = Field(description="The Hub it comes from.")
    revision: str
    commit: str
    status: StatusName
    quantization: QuantizationName
    architecture: str | None
    model_type: str | None
    num_parameters: int | None
    dtype: str | None
    size_bytes: int | None = Field(description="Bytes of the snapshot's files.")
    downloaded_bytes: int
    disk_bytes: int = Field(description="Bytes on this machine's disk now.")
    shared_bytes: int = Field(
        description="Of `disk_bytes`, what is counted for another row: the same snapshot, which is there for its"
        " unquantized row, or else for the oldest. The rest is this row's own."
    )
    original_bytes: int = Field(
        default=0, description="Of `disk_bytes`, the files a quantized copy was made of, which it does not need to run."
    )
    memory_estimated_bytes: int | None
    memory_method: str | None = Field(description="How the estimate was found: exact or approximate.")
    memory_measured_bytes: int | None
    progress: Progress | None = Field(
        description="Of the work on its files, or, once it is ready, of a load that waits or runs; null otherwise."
    )
    error: ModelError | None
    restarts_with: RestartName | None = Field(
        description="Of a failed, cancelled or missing row, what `resume` begins with: `quantize` where only the"
        " quantized copy is to be made."
    )
    last_load_seconds: float | None = Field(
        description="How long the last load took, of a quantized row from its quantized copy; null before the first."
    )
    loaded: bool
    last_unload: LastUnload | None = Field(
        default=None, description="What came back when it was unloaded lately; null while it is being unloaded."
    )
    unloading: bool = Field(
        default=False, description="Whether an unload waits or runs; it waits for a worker that does not answer."
    )
    used_by: list[UsedBy]
    drift: Drift | None = Field(
        description="How far the quantized model's answers are from the source's, as measured when it was made."
    )
    adopted: bool = Field(description="The files were in the shared cache before Modelyard managed them.")
    gated: bool
    licence: str | None = Field(description="As the Hub names it; null where it is not stated or not known.")
    has_custom_code: bool = Field(description="The repository brings code of its own, which is never run.")
    training: TrainingVerdict | None = Field(
        description="Whether a sparse autoencoder could be trained on it, at first sight; null where nobody looked."
    )
    remarks: list[str] = Field(
        description="What of its files cannot be read or has a wrong type, and so why a field of this answer is null."
    )
    latest_commit: str | None = Field(
        description="Where `revision` stood on the Hub at `checked_at`; null where that is not known."
    )
    update_available: bool | None = Field(
        description="Whether `latest_commit` is another commit than this one; null where that is not known."
    )
    checked_at: UtcTime | None = Field(description="When the Hub was asked for a newer commit the last time.")
    job_id: str | None
    has_chat_template: bool | None = Field(
        description="Whether `messages` can be sent to generate; null until it is ready, and where it cannot be read."
    )
    generates_text: bool | None = Field(
        description="Whether it has a language head, as far as the name of its class tells; null where it does not.",
    )
    snapshot_path: str | None = Field(
        description="Folder to load from, once it is ready: the snapshot, or the quantized copy."
    )
    created_at: UtcTime
    updated_at: UtcTime


class ModelPage(Schema):
    """One page of the list of models."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_PAGE]})

    items: list[ModelResponse]
    total: int
    limit: int
    offset: int


class InstalledFile(Schema):
    """A file of a model that is here."""

    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None = Field(description="git's hash, of small files that have no sha256 on the Hub.")
    present: bool = Field(description="Whether it is on the disk with the right size.")


class InstalledFiles(Schema):
    """The manifest of a model's snapshot."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.INSTALLED_FILES]})

    items: list[InstalledFile]
