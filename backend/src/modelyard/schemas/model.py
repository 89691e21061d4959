"""What goes over the wire about models."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import DtypeName, ErrorDetail, ModelIdField, QuantizationName, Schema, UtcTime

StatusName = Literal[
    "pending", "downloading", "paused", "quantizing", "ready", "failed", "cancelled", "missing", "deleting"
]
WorkName = Literal["download", "verify", "import", "quantize", "load"]
PhaseName = Literal["resolving", "downloading", "verifying", "retrying", "quantizing", "checking", "loading"]
SearchSort = Literal["downloads", "likes", "trending", "updated"]
AccessName = Literal["open", "accepted", "needs_acceptance", "no_token", "token_invalid", "unknown"]


class ModelDownloadRequest(Schema):
    """Ask for a model in one precision."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_DOWNLOAD_REQUEST]})

    model_id: ModelIdField
    revision: str | None = Field(
        default=None,
        max_length=200,
        description="Branch, tag or commit; the default branch when null.",
        examples=["main"],
    )
    quantization: QuantizationName = Field(
        default="none", description="The precision to keep it in; none leaves it as it is.", examples=["4bit"]
    )
    keep_original: bool = Field(
        default=True, description="Keep the unquantized snapshot after a quantized copy was written."
    )
    allow_pickle: bool = Field(
        default=False, description="Accept pickle weights (.bin) when a repository has no safetensors."
    )


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


class Dimensions(Schema):
    """The shape of a transformer, as far as its configuration tells."""

    hidden_size: int | None = None
    num_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None


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


class Reason(Schema):
    code: str
    message: str


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
        description="What of its files cannot be read, and so which field of this answer is null."
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


class ModelInfo(Schema):
    """What a Hub tells of a model before anything is downloaded."""

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
    missing_bytes: int = Field(description="Bytes a download would transfer now: the rest is in the cache already.")
    files: list[FilePlan]
    licence: str | None
    access: AccessName
    tags: list[str]
    downloads: int | None
    likes: int | None
    last_modified: UtcTime | None
    has_tokenizer: bool
    needs_custom_code: bool
    already_quantized: str | None = Field(description="The method, when the weights are quantized already.")
    support: Support
    training: TrainingVerdict
    warnings: list[str]


class SearchItem(Schema):
    model_id: str
    downloads: int | None
    likes: int | None
    num_parameters: int | None
    size_bytes: int | None
    access: AccessName
    pipeline_tag: str | None
    installed: bool
    is_sample: bool = Field(default=False, description="A small model with random weights, for trying Modelyard out.")


class SearchPage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.SEARCH_PAGE]})

    items: list[SearchItem]


class KvCacheSegment(Schema):
    """From `from_tokens` on, one sequence's cache is `bytes_at_from + (n - from_tokens) * bytes_per_token`."""

    from_tokens: int
    bytes_at_from: int
    bytes_per_token: int


EstimateParts = Literal["weights", "all"]


class Verdict(Schema):
    """Whether an option fits one device's free memory."""

    device: str
    verdict: Literal["fits", "tight", "does_not_fit", "unknown"]
    free_bytes: int | None
    total_bytes: int | None


class FastDtype(Schema):
    """A dtype in which this host computes faster than in the one the model is stored in, as measured once."""

    dtype: DtypeName
    prefill_speedup: float = Field(description="How many times as fast a prompt is read.")


class MemoryOption(Schema):
    """The memory one precision needs."""

    quantization: QuantizationName
    weights_bytes: int | None
    quantization_state_bytes: int | None
    quantized_fraction: float | None
    kv_cache_bytes: int | None
    activation_bytes: int | None
    overhead_bytes: int | None
    total_bytes: int | None = Field(description="The sum of the parts that are known.")
    total_is_lower_bound: bool = Field(
        description="The KV cache, the activations or what becomes of the weights is not known, so it takes more."
    )
    load_peak_bytes: int | None
    download_bytes: int | None
    disk_bytes: int | None
    fast_dtype_bytes: int | None = Field(
        default=None, description="How much more the weights take in `fast_dtype`; null where that is not known."
    )
    available: bool
    note: str | None
    verdicts: list[Verdict]


class MemoryEstimate(Schema):
    """Memory per precision, and how the figures were found."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MEMORY_ESTIMATE]})

    model_id: str
    commit: str
    method: Literal["exact", "approximate"] = Field(description="How the weights' figures were found.")
    method_reason: str | None = Field(description="Why they are not exact, and what else is not known or approximate.")
    may_improve: bool = Field(
        description="Whether asking again may give better figures: the server had no time for all of them."
    )
    num_parameters: int | None
    dtype: str | None
    fast_dtype: FastDtype | None = Field(
        default=None,
        description="Set where the hosts that load are slower in `dtype`: load with this one instead.",
    )
    kv_cache_segments: list[KvCacheSegment]
    context: int = Field(description="Tokens per sequence: as asked, or the model's limit where that is less.")
    batch: int
    options: list[MemoryOption]


class KeptBytes(Schema):
    bytes: int
    reason: str


class DeletionReport(Schema):
    """What a deletion frees and what it must leave."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_REPORT]})

    freed_bytes: int
    kept_bytes: int
    kept_because: list[KeptBytes]
    original_bytes: int = Field(
        default=0,
        description="What `with_original` would free besides: files kept only as the original of quantized copies.",
    )
    shared_cache: bool
    used_by: list[UsedBy] = Field(default_factory=list)


class DeletionPlanRequest(Schema):
    """Rows that are to be deleted together, one after the other in this order."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_PLAN_REQUEST]})

    ids: list[str] = Field(min_length=1, max_length=10_000, description="Rows' ids, as in the list of models.")
    confirm_shared: bool = Field(default=False, description="As it will be given to the deletions.")
    with_original: bool = Field(default=False, description="As it will be given to the deletions.")


class RowDeletion(DeletionReport):
    """What the deletion of one row of a set frees; what it must leave is what no row of the set gives up."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.DELETION_PLAN["items"][:1]})

    id: str
    stays: bool = Field(description="It is in use, or its files are in the shared cache and that was not confirmed.")


class DeletionPlan(Schema):
    """What deleting several rows frees together."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_PLAN]})

    freed_bytes: int = Field(description="By those that do not stay.")
    original_bytes: int = Field(default=0, description="How much more `with_original` would free.")
    items: list[RowDeletion]


class CachedModel(Schema):
    """A snapshot in the shared cache that Modelyard does not manage."""

    model_id: str
    commit: str
    revisions: list[str]
    size_bytes: int
    importable: bool
    problem: str | None = Field(description="Why it cannot be adopted as it is.")


class Leftover(Schema):
    """An unfinished file of a download."""

    model_id: str
    path: str
    size_bytes: int
    age_seconds: float


class CacheListing(Schema):
    """What the shared cache holds besides the managed models."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CACHE_LISTING]})

    items: list[CachedModel]
    leftovers: list[Leftover]


class FreedBytes(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"freed_bytes": 1073741824}]})

    freed_bytes: int


class ModelImportRequest(Schema):
    """Take over a folder, or a model the shared cache holds already."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_IMPORT_REQUEST]})

    path: str | None = Field(
        default=None,
        max_length=4096,
        description="An absolute path on the server's machine, below a folder that it reads for users.",
        examples=["/data/my-model"],
    )
    model_id: ModelIdField | None = Field(default=None, description="The name it gets.", examples=["local/my-model"])
    mode: Literal["link", "copy"] = Field(default="link", description="Hard links (no extra space) or a copy.")
    cached: ModelIdField | None = Field(
        default=None, description="A model of the cache instead of a folder.", examples=[None]
    )


class HookPoint(Schema):
    """A module whose output can be hooked."""

    path: str
    layer: int | None
    kind: Literal["residual", "attention", "mlp", "mixer", "norm"]
    shape: list[str | int]
    width: int
    output: Literal["tensor", "tuple"]
    verified: bool = Field(description="Whether a forward pass showed it.")
    transformer_lens: str | None = Field(description="The same point's name in TransformerLens, where it has one.")


class ModuleNode(Schema):
    """A module and what it is made of."""

    name: str
    type: str
    num_parameters: int
    children: list["ModuleNode"]


class Architecture(Schema):
    """What a model is made of."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ARCHITECTURE]})

    model_id: str
    commit: str
    model_class: str
    model_type: str
    num_parameters: int
    method: Literal["meta"] = Field(description="meta: the model was built without its weights.")
    verified: bool
    reason: str | None = Field(description="Why the hook points could not be verified.")
    dimensions: Dimensions
    layers_path: str | None = Field(description="The list of decoder blocks.")
    final_norm: str | None
    tied: list[tuple[str, str]] = Field(description="Pairs of parameters that are the same.")
    flags: list[str] = Field(description="What to know before taking the residual stream, such as post_norm.")
    hook_points: list[HookPoint]
    tree: ModuleNode


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


class HistoryEvent(Schema):
    """One thing that happened to a model."""

    at: UtcTime
    kind: Literal["download", "verify", "import", "quantize", "load", "unload", "generate", "files"] = Field(
        description="What was at work; `files` is what a look at the disk found."
    )
    event: Literal["started", "resumed", "taken_over", "paused", "done", "failed", "cancelled", "missing", "found"] = (
        Field(description="`taken_over`: its worker ended, and another one goes on.")
    )
    seconds: float | None = Field(
        description="How long it took, since it was started, last resumed or taken over by another worker."
    )
    bytes: int | None = Field(
        description="Bytes of the model that were fetched or read by then; of a load or unload, bytes in memory."
    )
    moved_bytes: int | None = Field(
        default=None,
        description="Of a download, verification or import: bytes fetched or read in these `seconds`.",
    )
    freed_bytes: int | None = Field(
        default=None, description="Of an unload: how much less its worker held afterwards; null where it ended."
    )
    error: ErrorDetail | None


class HistoryPage(Schema):
    """What was done to a model and when, the newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HISTORY_PAGE]})

    items: list[HistoryEvent]
    total: int
    limit: int
    offset: int


class QuantizeRequest(Schema):
    """Make a model that is here in another precision."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.QUANTIZE_REQUEST]})

    quantization: Literal["8bit", "4bit"] = Field(description="The precision of the copy.", examples=["4bit"])
    keep_original: bool = Field(default=True, description="Keep the unquantized model as well.")


class LoadRequest(Schema):
    """Have a model in memory."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.LOAD_REQUEST]})

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda:\d{1,3})$",
        description="Where to; auto: the accelerator with the most free memory, else the CPU.",
        examples=["auto", "cpu", "cuda:0"],
    )
    dtype: DtypeName = Field(default="auto", description="What is not quantized; auto: as it is stored.")
    ttl_seconds: float | None = Field(default=3600, gt=0, description="Unloaded this long after its last use.")
    pinned: bool = Field(default=False, description="Never unloaded to make room for another model.")
    allow_offload: bool = Field(
        default=False,
        description="Keep in main memory what the accelerators cannot hold, which is slow. Unquantized models only,"
        " with the device auto.",
    )


class LoadedModelResponse(Schema):
    """A model in the memory of an inference worker."""

    id: str
    model_id: str
    quantization: QuantizationName
    device: str
    dtype: str
    host: str
    measured_bytes: int
    load_seconds: float
    in_use: int
    pinned: bool
    expires_at: UtcTime | None
    last_unload: LastUnload | None


class LoadedPage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.LOADED_PAGE]})

    items: list[LoadedModelResponse]


class Message(Schema):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.", examples=["user"])
    content: str = Field(max_length=200_000, description="What is said.", examples=["What is the capital of France?"])


class GenerateRequest(Schema):
    """Continue a prompt, or answer messages with the tokenizer's chat template."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.GENERATE_REQUEST]})

    prompt: str | None = Field(
        default=None,
        max_length=200_000,
        description="Text to go on with; null where messages are sent.",
        examples=["The capital of France is"],
    )
    messages: list[Message] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="A conversation to answer, the latest turn last; null where a prompt is sent.",
        examples=[None],
    )
    max_new_tokens: int = Field(default=64, ge=1, le=100_000, description="Where to stop at the latest.")
    temperature: float = Field(default=0.0, ge=0, le=10, description="0 takes the likeliest token.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="The same seed draws the same tokens.")
    stream: bool = Field(default=False, description="Server-sent events with the text as it comes.")


class DriftRequest(Schema):
    """Compare a quantized copy with its original on a text."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DRIFT_REQUEST]})

    text: str = Field(
        min_length=1,
        max_length=200_000,
        description="What both read; the first 1,024 tokens are compared.",
        examples=["It was the best of times, it was the worst of times."],
    )


class GenerateResponse(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.GENERATE_RESPONSE]})

    text: str
    new_tokens: int
    tokens_per_second: float
    load_seconds: float = Field(description="0 when the model was in memory already.")
    finish_reason: Literal["stop", "length", "cancelled"]
