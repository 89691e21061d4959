"""Requests and answers about the models of this instance."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import KindName, QuantizationName, StatusName
from modelyard.schemas import examples
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.common import ErrorDetail, Reason, Schema, UtcTime

WorkName = Literal["download", "verify", "import", "quantize", "merge", "load"]
StepName = Literal[
    "starting",
    "waiting",
    "making_room",
    "building",
    "reading",
    "converting",
    "merging",
    "quantizing",
    "checking",
    "finishing",
]
PhaseName = Literal[
    "resolving", "downloading", "verifying", "retrying", "converting", "merging", "quantizing", "checking", "loading"
]


class ModelCreate(Schema):
    """Data for a new row: a model whose commit is known."""

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
    """The current step of a load or quantization."""

    name: StepName
    done: int | None = Field(description="Completed units, such as parameters or layers; null if nothing is counted.")
    total: int | None


class Progress(Schema):
    """Progress of the work on a model."""

    work: WorkName = Field(description="The kind of work. Cancelling a verification removes nothing.")
    phase: PhaseName
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None = Field(description="Rate over the last seconds; 0 if nothing arrives.")
    eta_seconds: float | None = Field(description="Null until the rate is stable.")
    files_done: int
    files_total: int | None
    waiting: bool = Field(description="No worker has taken this work yet.")
    stopping: bool = Field(description="It was asked to stop and has not stopped yet.")
    started_at: UtcTime = Field(description="When this work was asked for.")
    step: ProgressStep | None = Field(description="Step of a load or a quantization; null if not known.")
    message: str | None = Field(
        description='For people only, such as "retrying in 4 s (connection reset)"; its wording may change.'
    )


class UsedBy(Schema):
    """A use of a model: loaded in memory, a training run, or work on a sparse autoencoder."""

    kind: Literal["loaded", "training", "sae"]
    id: str
    name: str
    dtype: str | None = Field(default=None, description="Dtype of a loaded model; auto: as stored.")
    measured_bytes: int | None = Field(default=None, description="Memory of a loaded model.")


class LastUnload(Schema):
    """Memory freed by the last unload of a model, in bytes."""

    freed_bytes: int = Field(description="Decrease of the worker's memory.")
    held_before_bytes: int = Field(description="Bytes of the model's tensors.")
    mapped_bytes: int = Field(
        default=0,
        description="Part of `held_before_bytes` that was mapped from files and never in memory.",
    )


class Drift(Schema):
    """The difference between a quantized model and its source on the same prompts.

    If no comparison was possible, the figures are null and `reason` says why. A model without a language head has only
    cosines.
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
        default=None, description="Perplexity of the quantized model on these prompts; null if they are not text."
    )
    source_perplexity: float | None = Field(default=None, description="Perplexity of the source on the same prompts.")
    residual_cosine: list[float] = Field(
        description="Mean cosine of the input of layer 0 and of each layer's output; may be empty."
    )
    output_cosine: float | None = Field(
        default=None,
        description="Mean cosine of the final hidden states, after the final norm; null if not measured.",
    )
    reason: str | None


class ModelError(ErrorDetail):
    """Why work on a model failed."""

    during: Literal["load", "unload"] | None = Field(
        default=None, description="The request that failed for a ready model; null for work on its files."
    )


class TrainingVerdict(Schema):
    """Whether a sparse autoencoder could be trained on the model, judged by configuration and file names alone."""

    compatible: bool | None = Field(description="null if that is not known before the download.")
    reasons: list[Reason]


class AdapterFacts(Schema):
    """An adapter, as its configuration describes it."""

    base_model: str = Field(description="Repository of the model that it changes, its base.")
    base_revision: str | None = Field(description="Revision of the base that it was made for; null if not stated.")
    rank: int | None = Field(description="Rank of its matrices; the largest if there are several.")
    target_modules: list[str] = Field(description="Names, or one pattern, of the modules that it changes.")


RestartName = Literal["download", "verify", "import", "quantize", "merge"]


class MergeOrigin(Schema):
    """What a merged model was made from."""

    adapter_model: str
    adapter_commit: str
    base_model: str
    base_commit: str


class ModelResponse(Dimensions):
    """A model Modelyard manages: one snapshot in one precision."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_RESPONSE]})

    id: str
    model_id: str = Field(description="The requested name.", examples=["Qwen/Qwen3-0.6B"])
    canonical_id: str = Field(description="The name on the Hub.")
    name: str
    endpoint: str = Field(description="The Hub it comes from.")
    revision: str
    commit: str
    kind: KindName = Field(description="An adapter works only together with its base.")
    base_id: str | None = Field(
        description="Of an adapter: id of a row of its base, preferably unquantized; null if there is none."
    )
    adapter: AdapterFacts | None = Field(description="Null for a model.")
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
        description="Part of `disk_bytes` that is counted for another row of the same snapshot: its unquantized row, or"
        " otherwise the oldest."
    )
    original_bytes: int = Field(
        default=0, description="Part of `disk_bytes` that a quantized copy does not need: the files it was made from."
    )
    memory_estimated_bytes: int | None
    memory_method: str | None = Field(description="exact or approximate.")
    memory_measured_bytes: int | None
    progress: Progress | None = Field(
        description="Progress of the work on its files or, if ready, of a queued or running load; otherwise null."
    )
    error: ModelError | None
    restarts_with: RestartName | None = Field(
        description="What `resume` starts with for a failed, cancelled or missing row; `quantize` if only the quantized"
        " copy is missing."
    )
    last_load_seconds: float | None = Field(description="Duration of the last load; null before the first.")
    loaded: bool
    last_unload: LastUnload | None = Field(
        default=None, description="Memory freed by its last unload; null while it is being unloaded."
    )
    unloading: bool = Field(default=False, description="Whether an unload is queued or running.")
    used_by: list[UsedBy]
    drift: Drift | None = Field(
        description="Difference of a quantized copy from its source, measured when it was made."
    )
    adopted: bool = Field(description="The files were in the shared cache before Modelyard managed them.")
    gated: bool
    licence: str | None = Field(description="As named on the Hub; null if not stated or not known.")
    converted_from: str | None = Field(
        description="Quantization type of the GGUF file it was converted from, such as Q4_K_M; null if it was not."
    )
    gguf_file: str | None = Field(description="Path or name of that GGUF file; null if there is none.")
    merged_from: MergeOrigin | None = Field(
        description="The adapter and the base it was merged from; null if it was not."
    )
    has_custom_code: bool = Field(description="The repository contains code, which is never run.")
    training: TrainingVerdict | None = Field(
        description="Whether an SAE could be trained on it, judged by its configuration; null if not checked."
    )
    remarks: list[str] = Field(
        description="Unreadable files and configuration fields of a wrong type; answer fields that need them are null."
    )
    latest_commit: str | None = Field(description="Commit of `revision` on the Hub at `checked_at`; null if not known.")
    update_available: bool | None = Field(
        description="Whether the model is not at `latest_commit`, or not at `pinned_commit` if that is set; null if not"
        " known."
    )
    pinned_commit: str | None = Field(
        default=None, description="Commit on the Hub that the repository is pinned to; null if it follows its branch."
    )
    replaced_by: str | None = Field(
        default=None,
        description="Id of the version in use of the same branch and precision; null for that version itself.",
    )
    previous_commit: str | None = Field(
        default=None, description="Commit on the Hub of the version that this one took over from; null if none."
    )
    checked_at: UtcTime | None = Field(description="Time of the last update check.")
    tags: list[str] = Field(description="Of the repository, like `note` and `favourite`: the same in each row.")
    note: str
    favourite: bool
    job_id: str | None
    has_chat_template: bool | None = Field(
        description="Whether `messages` can be sent to generate; null if not ready or the template is unreadable."
    )
    generates_text: bool | None = Field(
        description="Whether it has a language head, by the name of its class; null if the name does not say.",
    )
    snapshot_path: str | None = Field(
        description="Folder to load a ready model from: the snapshot or the quantized copy."
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
    """A file of an installed model."""

    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None = Field(description="Git's blob hash, for small files without a sha256 on the Hub.")
    present: bool = Field(description="Whether it is on disk with the right size.")


class InstalledFiles(Schema):
    """The manifest of a model's snapshot."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.INSTALLED_FILES]})

    items: list[InstalledFile]
