"""The bodies of the API as they are in JSON, for type checkers. Written by `make types` from the schemas."""

# fmt: off
# ruff: noqa

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class ActivationsRequest(TypedDict):
    hook_points: list[str]
    texts: NotRequired[list[str] | None]
    token_ids: NotRequired[list[list[int]] | None]
    dataset: NotRequired[DatasetRows | None]
    positions: NotRequired[Literal['all', 'last'] | list[int]]
    dtype: NotRequired[Literal['float32', 'bfloat16', 'float16']]
    save: NotRequired[bool]
    max_tokens: NotRequired[int | None]
    batch_size: NotRequired[int]
    shard_bytes: NotRequired[int]
    interventions: NotRequired[list[InterventionSpec]]


class ActivationsResponse(TypedDict):
    tensors: dict[str, ActivationsTensor]
    tokens: list[ActivationsToken]


class ActivationsTensor(TypedDict):
    shape: list[int]
    dtype: Literal['float32', 'bfloat16', 'float16']
    data: str


class ActivationsToken(TypedDict):
    row: int
    position: int
    id: int
    text: str | None


class ActiveFeature(TypedDict):
    index: int
    max: float
    position: int
    density: float | None
    activations: list[float]


class AdapterBase(TypedDict):
    id: str | None
    status: Literal['pending', 'downloading', 'paused', 'quantizing', 'ready', 'failed', 'cancelled', 'missing', 'deleting'] | None
    quantization: Literal['none', '8bit', '4bit'] | None
    size_bytes: int | None
    missing_bytes: int | None
    problem: str | None


class AdapterFacts(TypedDict):
    base_model: str
    base_revision: str | None
    rank: int | None
    target_modules: list[str]


class AdapterPreview(TypedDict):
    base_model: str
    base_revision: str | None
    rank: int | None
    target_modules: list[str]
    memory_bytes: int
    base: AdapterBase | None


class Agreement(TypedDict):
    tokens: int
    same_choice: int
    mean_difference: float
    largest_difference: float


class AnswerNotes(TypedDict):
    warnings: list[str]


class AnsweredMessage(TypedDict):
    role: NotRequired[Literal['assistant']]
    content: str
    refusal: NotRequired[None]


class Architecture(TypedDict):
    model_id: str
    commit: str
    model_class: str
    model_type: str
    num_parameters: int
    method: Literal['meta']
    verified: bool
    reason: str | None
    dimensions: Dimensions
    layers_path: str | None
    final_norm: str | None
    tied: list[tuple[str, str]]
    flags: list[str]
    hook_points: list[HookPoint]
    tree: ModuleNode


class BundleCreate(TypedDict):
    ids: list[str]
    with_quantized: NotRequired[bool]
    with_adapters: NotRequired[bool]
    with_saes: NotRequired[bool]
    split_bytes: NotRequired[int | None]


class BundleImportRequest(TypedDict):
    path: str
    allow_pickle: NotRequired[bool]


class BundlePage(TypedDict):
    items: list[BundleResponse]
    total: int
    limit: int
    offset: int


class BundlePart(TypedDict):
    name: str
    size_bytes: int
    sha256: str | None


class BundlePlan(TypedDict):
    size_bytes: int
    parts: int
    free_bytes: int
    models: list[BundledModelName]
    refusal: ErrorDetail | None


class BundleProgress(TypedDict):
    phase: Literal['waiting', 'starting', 'hashing', 'writing', 'reading', 'finishing']
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    files_done: int
    files_total: int | None
    waiting: bool
    stopping: bool
    started_at: str


class BundleResponse(TypedDict):
    id: str
    kind: Literal['export', 'import']
    status: Literal['pending', 'running', 'paused', 'ready', 'failed', 'cancelled']
    name: str
    progress: BundleProgress | None
    size_bytes: int
    parts: list[BundlePart]
    models: list[BundledModelName]
    error: ErrorDetail | None
    created_at: str
    finished_at: str | None


class BundleUpload(TypedDict):
    name: str
    path: str
    received_bytes: int
    size_bytes: int


class BundledModelName(TypedDict):
    model_id: str
    commit: str
    quantization: Literal['none', '8bit', '4bit']
    id: str | None


class CacheListing(TypedDict):
    items: list[CachedModel]
    leftovers: list[Leftover]


class CachedModel(TypedDict):
    model_id: str
    commit: str
    revisions: list[str]
    size_bytes: int
    importable: bool
    problem: str | None


class CapturePage(TypedDict):
    items: list[CaptureResponse]
    total: int
    limit: int
    offset: int


class CaptureProgress(TypedDict):
    phase: str | None
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    waiting: bool
    stopping: bool
    step: CaptureStep | None
    message: str | None


class CaptureResponse(TypedDict):
    id: str
    status: Literal['pending', 'running', 'paused', 'completed', 'failed', 'cancelled']
    model_id: str | None
    model_name: str
    commit: str
    quantization: Literal['none', '8bit', '4bit']
    hook_points: list[str]
    positions: Literal['all', 'last'] | list[int]
    dtype: Literal['float32', 'bfloat16', 'float16']
    rows: int | None
    tokens: int | None
    estimated_bytes: int | None
    progress: CaptureProgress | None
    folder: str
    error: ErrorDetail | None
    created_at: str
    updated_at: str
    finished_at: str | None


class CaptureStep(TypedDict):
    name: str
    done: int | None
    total: int | None


class ChatChoice(TypedDict):
    index: int
    message: AnsweredMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal['stop', 'length']


class ChatCompletion(TypedDict):
    id: str
    object: NotRequired[Literal['chat.completion']]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str
    modelyard: NotRequired[AnswerNotes | None]


class ChatCompletionRequest(TypedDict):
    model: str
    modelyard: NotRequired[ModelyardOptions]
    temperature: NotRequired[float]
    top_p: NotRequired[float | None]
    n: NotRequired[int]
    stop: NotRequired[str | list[str] | None]
    seed: NotRequired[int | None]
    stream: NotRequired[bool]
    stream_options: NotRequired[StreamOptions | None]
    logit_bias: NotRequired[dict[str, Any]]
    presence_penalty: NotRequired[float]
    frequency_penalty: NotRequired[float]
    messages: list[ChatMessage]
    max_tokens: NotRequired[int | None]
    max_completion_tokens: NotRequired[int | None]
    logprobs: NotRequired[bool]
    top_logprobs: NotRequired[int | None]


class ChatLogprobs(TypedDict):
    content: list[ChatToken]
    refusal: NotRequired[None]


class ChatMessage(TypedDict):
    role: Literal['system', 'developer', 'user', 'assistant']
    content: str | list[TextPart]


class ChatToken(TypedDict):
    token: str
    logprob: float | None
    bytes: list[int] | None
    top_logprobs: list[LikelyToken]


class CollectionInfo(TypedDict):
    slug: str
    title: str
    model_ids: list[str]
    left_out: int


class CompareRequest(TypedDict):
    left: str
    right: str
    prompt: NotRequired[str | None]
    messages: NotRequired[list[Message] | None]
    max_new_tokens: NotRequired[int]
    stream: NotRequired[bool]


class CompareResponse(TypedDict):
    left: ComparedSide
    right: ComparedSide
    first_divergence: int | None
    agreement: Agreement | None
    reason: str | None


class ComparedSide(TypedDict):
    id: str
    model_id: str
    commit: str
    quantization: Literal['none', '8bit', '4bit']
    text: str
    tokens: list[ComparedToken]
    finish_reason: Literal['stop', 'length']
    first_divergence: int | None


class ComparedToken(TypedDict):
    id: int
    text: str
    logprob: float
    other_logprob: float | None
    other_choice: PossibleToken | None


class Completion(TypedDict):
    id: str
    object: NotRequired[Literal['text_completion']]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
    modelyard: NotRequired[AnswerNotes | None]


class CompletionChoice(TypedDict):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal['stop', 'length']


class CompletionLogprobs(TypedDict):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionRequest(TypedDict):
    model: str
    modelyard: NotRequired[ModelyardOptions]
    temperature: NotRequired[float]
    top_p: NotRequired[float | None]
    n: NotRequired[int]
    stop: NotRequired[str | list[str] | None]
    seed: NotRequired[int | None]
    stream: NotRequired[bool]
    stream_options: NotRequired[StreamOptions | None]
    logit_bias: NotRequired[dict[str, Any]]
    presence_penalty: NotRequired[float]
    frequency_penalty: NotRequired[float]
    prompt: str | list[str] | list[int] | list[list[int]]
    echo: NotRequired[bool]
    max_tokens: NotRequired[int]
    logprobs: NotRequired[int | None]


class DatasetChoice(TypedDict):
    path: str
    column: NotRequired[str | None]


class DatasetColumn(TypedDict):
    name: str
    type: str


class DatasetConfig(TypedDict):
    name: str
    splits: list[DatasetSplit]


class DatasetInfo(TypedDict):
    repo_id: str
    commit: str
    access: Literal['open', 'accepted', 'needs_acceptance', 'no_token', 'token_invalid', 'unknown']
    licence: str | None
    downloads: int | None
    likes: int | None
    last_modified: str | None
    configs: list[DatasetConfig]
    config: str | None
    split: str | None
    columns: list[DatasetColumn] | None
    first_rows: list[dict[str, str | int | float | bool | None]] | None
    problem: ErrorDetail | None


class DatasetList(TypedDict):
    items: list[StoredDataset]


class DatasetResponse(TypedDict):
    path: str
    rows: int
    columns: list[str]
    size_bytes: int


class DatasetRows(TypedDict):
    id: NotRequired[str | None]
    path: NotRequired[str | None]
    column: NotRequired[str | None]
    rows: NotRequired[tuple[int, int] | None]


class DatasetSearchItem(TypedDict):
    repo_id: str
    downloads: int | None
    likes: int | None
    access: Literal['open', 'accepted', 'needs_acceptance', 'no_token', 'token_invalid', 'unknown']
    licence: str | None
    rows: str | None
    last_modified: str | None


class DatasetSearchPage(TypedDict):
    items: list[DatasetSearchItem]
    next_cursor: str | None


class DatasetSplit(TypedDict):
    name: str
    format: Literal['parquet', 'jsonl', 'text'] | None
    files: int
    size_bytes: int | None
    rows: int | None
    rows_counted: bool


class DatasetUser(TypedDict):
    id: str
    status: Literal['pending', 'running', 'cancelling', 'cancelled', 'failed', 'completed']


class Defaults(TypedDict):
    quantization: NotRequired[Literal['none', '8bit', '4bit'] | None]


class DeletionPlan(TypedDict):
    freed_bytes: int
    original_bytes: NotRequired[int]
    items: list[RowDeletion]


class DeletionPlanRequest(TypedDict):
    ids: list[str]
    confirm_shared: NotRequired[bool]
    with_original: NotRequired[bool]


class DeletionReport(TypedDict):
    freed_bytes: int
    kept_bytes: int
    kept_because: list[KeptBytes]
    original_bytes: NotRequired[int]
    shared_cache: bool
    used_by: NotRequired[list[UsedBy]]
    adapters: NotRequired[list[str]]


class DensityHistogram(TypedDict):
    edges: list[float]
    counts: list[int]


class Device(TypedDict):
    id: str
    name: str
    total_bytes: int
    free_bytes: int
    used_by_us_bytes: int


class Dimensions(TypedDict):
    hidden_size: NotRequired[int | None]
    num_layers: NotRequired[int | None]
    num_attention_heads: NotRequired[int | None]
    num_key_value_heads: NotRequired[int | None]
    head_dim: NotRequired[int | None]
    intermediate_size: NotRequired[int | None]
    vocab_size: NotRequired[int | None]
    max_position_embeddings: NotRequired[int | None]


class Disk(TypedDict):
    path: str
    total_bytes: int
    free_bytes: int
    used_by_us_bytes: int
    purpose: str
    places: list[StoragePlace]


class Drift(TypedDict):
    prompts: int
    tokens: int
    compared_dtype: str | None
    kl_mean: float | None
    kl_max: float | None
    top1_agreement: float | None
    perplexity: NotRequired[float | None]
    source_perplexity: NotRequired[float | None]
    residual_cosine: list[float]
    output_cosine: NotRequired[float | None]
    reason: str | None


class DriftRequest(TypedDict):
    text: str


class Embedding(TypedDict):
    object: NotRequired[Literal['embedding']]
    index: int
    embedding: list[float] | str


class EmbeddingList(TypedDict):
    object: NotRequired[Literal['list']]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class EmbeddingRequest(TypedDict):
    model: str
    modelyard: NotRequired[ModelyardOptions]
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: NotRequired[Literal['float', 'base64']]


class EmbeddingUsage(TypedDict):
    prompt_tokens: int
    total_tokens: int


class ErrorDetail(TypedDict):
    code: str
    message: str
    hint: NotRequired[str | None]


class Extras(TypedDict):
    torch: bool
    sae: bool
    sae_install: NotRequired[str | None]


class FastDtype(TypedDict):
    dtype: Literal['auto', 'float32', 'bfloat16', 'float16']
    prefill_speedup: float


class FeatureHistogram(TypedDict):
    edges: list[float]
    counts: list[int]


class FeaturePassage(TypedDict):
    position: int
    activation: float
    tokens: list[FeatureToken]


class FeatureToken(TypedDict):
    id: int
    text: str
    activation: float


class FilePlan(TypedDict):
    path: str
    size_bytes: int | None
    sha256: str | None
    fetch: bool
    reason: str


class FreedBytes(TypedDict):
    freed_bytes: int


class GenerateRequest(TypedDict):
    prompt: NotRequired[str | None]
    messages: NotRequired[list[Message] | None]
    max_new_tokens: NotRequired[int]
    temperature: NotRequired[float]
    seed: NotRequired[int]
    stream: NotRequired[bool]
    interventions: NotRequired[list[InterventionSpec]]


class GenerateResponse(TypedDict):
    text: str
    new_tokens: int
    tokens_per_second: float
    load_seconds: float
    finish_reason: Literal['stop', 'length', 'cancelled']
    warnings: NotRequired[list[str]]


class GgufFile(TypedDict):
    path: str
    size_bytes: int
    quantization_type: str | None
    weights_bytes: int | None
    num_parameters: int | None
    dtype: str | None
    architecture: str | None
    context_length: int | None
    has_chat_template: bool | None
    problem: str | None


class Health(TypedDict):
    status: NotRequired[Literal['ok']]


class HistoryEvent(TypedDict):
    at: str
    kind: Literal['download', 'verify', 'import', 'quantize', 'load', 'unload', 'generate', 'merge', 'files', 'version']
    event: Literal['started', 'resumed', 'taken_over', 'paused', 'done', 'failed', 'cancelled', 'missing', 'found']
    seconds: float | None
    bytes: int | None
    moved_bytes: NotRequired[int | None]
    freed_bytes: NotRequired[int | None]
    error: ErrorDetail | None


class HistoryPage(TypedDict):
    items: list[HistoryEvent]
    total: int
    limit: int
    offset: int


class HookPoint(TypedDict):
    path: str
    layer: int | None
    kind: Literal['residual', 'attention', 'mlp', 'mixer', 'norm']
    shape: list[str | int]
    width: int
    output: Literal['tensor', 'tuple']
    verified: bool
    transformer_lens: str | None


class HubAnswer(TypedDict):
    endpoint: str
    reachable: bool
    reason: str | None
    user: str | None
    token: Literal['none', 'valid', 'invalid', 'unknown']
    token_note: NotRequired[str | None]


class HubStatus(TypedDict):
    endpoint: str
    reachable: bool
    reason: str | None
    user: str | None
    token: Literal['none', 'valid', 'invalid', 'unknown']
    token_note: NotRequired[str | None]
    endpoint_source: Literal['default', 'environment', 'settings', 'builtin']


class HubTestRequest(TypedDict):
    endpoint: NotRequired[str | None]
    token: NotRequired[str | None]


class InstalledFile(TypedDict):
    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None
    present: bool


class InstalledFiles(TypedDict):
    items: list[InstalledFile]


class InterventionSpec(TypedDict):
    hook_point: NotRequired[str | None]
    op: Literal['add', 'scale', 'zero', 'project_out', 'sae_clamp', 'sae_replace']
    vector: NotRequired[list[float] | None]
    vector_path: NotRequired[str | None]
    value: NotRequired[float]
    sae_id: NotRequired[str | None]
    feature: NotRequired[int | None]
    positions: NotRequired[Literal['all', 'generated'] | list[int]]


class KeptBytes(TypedDict):
    bytes: int
    reason: str


class KvCacheSegment(TypedDict):
    from_tokens: int
    bytes_at_from: int
    bytes_per_token: int


class LabelChange(TypedDict):
    tags: NotRequired[list[str]]
    note: NotRequired[str]
    favourite: NotRequired[bool]
    pinned_commit: NotRequired[str | None]


class LastUnload(TypedDict):
    freed_bytes: int
    held_before_bytes: int
    mapped_bytes: NotRequired[int]


class Leftover(TypedDict):
    model_id: str
    path: str
    size_bytes: int
    age_seconds: float


class LensLayer(TypedDict):
    hook_point: str
    positions: list[list[LikelyNext]]


class LensToken(TypedDict):
    id: int
    text: str


class LikelyNext(TypedDict):
    id: int
    text: str
    probability: float


class LikelyToken(TypedDict):
    token: str
    logprob: float | None
    bytes: list[int] | None


class LoadRequest(TypedDict):
    device: NotRequired[str]
    dtype: NotRequired[Literal['auto', 'float32', 'bfloat16', 'float16']]
    ttl_seconds: NotRequired[float | None]
    pinned: NotRequired[bool]
    allow_offload: NotRequired[bool]


class LoadedModelResponse(TypedDict):
    id: str
    model_id: str
    quantization: Literal['none', '8bit', '4bit']
    device: str
    dtype: str
    host: str
    measured_bytes: int
    load_seconds: float
    in_use: int
    pinned: bool
    expires_at: str | None
    last_unload: LastUnload | None


class LoadedPage(TypedDict):
    items: list[LoadedModelResponse]


class LogitLensRequest(TypedDict):
    prompt: str
    top: NotRequired[int]


class LogitLensResponse(TypedDict):
    tokens: list[LensToken]
    layers: list[LensLayer]


class MemoryEstimate(TypedDict):
    model_id: str
    commit: str
    method: Literal['exact', 'approximate']
    method_reason: str | None
    may_improve: bool
    adapter_bytes: NotRequired[int]
    num_parameters: int | None
    dtype: str | None
    fast_dtype: NotRequired[FastDtype | None]
    kv_cache_segments: list[KvCacheSegment]
    context: int
    batch: int
    options: list[MemoryOption]


class MemoryOption(TypedDict):
    quantization: Literal['none', '8bit', '4bit']
    weights_bytes: int | None
    quantization_state_bytes: int | None
    quantized_fraction: float | None
    kv_cache_bytes: int | None
    activation_bytes: int | None
    overhead_bytes: int | None
    total_bytes: int | None
    total_is_lower_bound: bool
    load_peak_bytes: int | None
    download_bytes: int | None
    disk_bytes: int | None
    fast_dtype_bytes: NotRequired[int | None]
    available: bool
    note: str | None
    verdicts: list[Verdict]


class MergeOrigin(TypedDict):
    adapter_model: str
    adapter_commit: str
    base_model: str
    base_commit: str


class Message(TypedDict):
    role: Literal['system', 'user', 'assistant']
    content: str


class MissingExtra(TypedDict):
    extra: str
    needed_for: str
    install: str


class ModelCard(TypedDict):
    html: str
    text: str
    truncated: bool


class ModelDownloadRequest(TypedDict):
    model_id: str
    revision: NotRequired[str | None]
    quantization: NotRequired[Literal['none', '8bit', '4bit']]
    keep_original: NotRequired[bool]
    allow_pickle: NotRequired[bool]
    allow_unsupported: NotRequired[bool]
    gguf_file: NotRequired[str | None]
    with_base: NotRequired[bool]


class ModelError(TypedDict):
    code: str
    message: str
    hint: NotRequired[str | None]
    during: NotRequired[Literal['load', 'unload'] | None]


class ModelImportRequest(TypedDict):
    path: NotRequired[str | None]
    model_id: NotRequired[str | None]
    mode: NotRequired[Literal['link', 'copy']]
    cached: NotRequired[str | None]
    allow_unsupported: NotRequired[bool]


class ModelInfo(TypedDict):
    model_id: str
    canonical_id: str
    commit: str
    endpoint: str
    architecture: str | None
    model_type: str | None
    dimensions: Dimensions
    num_parameters: int | None
    dtype: str | None
    size_bytes: int
    missing_bytes: int
    files: list[FilePlan]
    licence: str | None
    access: Literal['open', 'accepted', 'needs_acceptance', 'no_token', 'token_invalid', 'unknown']
    tags: list[str]
    downloads: int | None
    likes: int | None
    last_modified: str | None
    has_tokenizer: bool
    needs_custom_code: bool
    already_quantized: str | None
    support: Support
    adapter: AdapterPreview | None
    gguf_files: list[GgufFile]
    training: TrainingVerdict
    warnings: list[str]


class ModelPage(TypedDict):
    items: list[ModelResponse]
    total: int
    limit: int
    offset: int


class ModelResponse(TypedDict):
    hidden_size: NotRequired[int | None]
    num_layers: NotRequired[int | None]
    num_attention_heads: NotRequired[int | None]
    num_key_value_heads: NotRequired[int | None]
    head_dim: NotRequired[int | None]
    intermediate_size: NotRequired[int | None]
    vocab_size: NotRequired[int | None]
    max_position_embeddings: NotRequired[int | None]
    id: str
    model_id: str
    canonical_id: str
    name: str
    endpoint: str
    revision: str
    commit: str
    kind: Literal['model', 'adapter']
    base_id: str | None
    adapter: AdapterFacts | None
    status: Literal['pending', 'downloading', 'paused', 'quantizing', 'ready', 'failed', 'cancelled', 'missing', 'deleting']
    quantization: Literal['none', '8bit', '4bit']
    architecture: str | None
    model_type: str | None
    num_parameters: int | None
    dtype: str | None
    size_bytes: int | None
    downloaded_bytes: int
    disk_bytes: int
    shared_bytes: int
    original_bytes: NotRequired[int]
    memory_estimated_bytes: int | None
    memory_method: str | None
    memory_measured_bytes: int | None
    progress: Progress | None
    error: ModelError | None
    restarts_with: Literal['download', 'verify', 'import', 'quantize', 'merge'] | None
    last_load_seconds: float | None
    loaded: bool
    last_unload: NotRequired[LastUnload | None]
    unloading: NotRequired[bool]
    used_by: list[UsedBy]
    drift: Drift | None
    adopted: bool
    gated: bool
    licence: str | None
    converted_from: str | None
    gguf_file: str | None
    merged_from: MergeOrigin | None
    has_custom_code: bool
    training: TrainingVerdict | None
    remarks: list[str]
    latest_commit: str | None
    update_available: bool | None
    pinned_commit: NotRequired[str | None]
    replaced_by: NotRequired[str | None]
    previous_commit: NotRequired[str | None]
    checked_at: str | None
    tags: list[str]
    note: str
    favourite: bool
    job_id: str | None
    has_chat_template: bool | None
    generates_text: bool | None
    snapshot_path: str | None
    created_at: str
    updated_at: str


class ModelyardOptions(TypedDict):
    adapter: NotRequired[str | None]
    ttl_seconds: NotRequired[float | None]
    interventions: NotRequired[list[InterventionSpec]]


class ModuleNode(TypedDict):
    name: str
    type: str
    num_parameters: int
    children: list[ModuleNode]


class OpenAIModel(TypedDict):
    id: str
    object: NotRequired[Literal['model']]
    created: int
    owned_by: str


class OpenAIModelList(TypedDict):
    object: NotRequired[Literal['list']]
    data: list[OpenAIModel]


class PossibleToken(TypedDict):
    id: int
    text: str
    logprob: float


class Progress(TypedDict):
    work: Literal['download', 'verify', 'import', 'quantize', 'merge', 'load']
    phase: Literal['resolving', 'downloading', 'verifying', 'retrying', 'converting', 'merging', 'quantizing', 'checking', 'loading']
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    files_done: int
    files_total: int | None
    waiting: bool
    stopping: bool
    started_at: str
    step: ProgressStep | None
    message: str | None


class ProgressStep(TypedDict):
    name: Literal['starting', 'waiting', 'making_room', 'building', 'reading', 'converting', 'merging', 'quantizing', 'checking', 'finishing']
    done: int | None
    total: int | None


class QuantizeRequest(TypedDict):
    quantization: Literal['8bit', '4bit']
    keep_original: NotRequired[bool]


class Readiness(TypedDict):
    ready: bool
    database: bool
    reason: NotRequired[str | None]


class Reason(TypedDict):
    code: str
    message: str


class RollbackRequest(TypedDict):
    commit: NotRequired[str | None]


class RowDeletion(TypedDict):
    freed_bytes: int
    kept_bytes: int
    kept_because: list[KeptBytes]
    original_bytes: NotRequired[int]
    shared_cache: bool
    used_by: NotRequired[list[UsedBy]]
    adapters: NotRequired[list[str]]
    id: str
    stays: bool


class SaeDownload(TypedDict):
    repo_id: str
    path: NotRequired[str]
    revision: NotRequired[str | None]


class SaeEvaluate(TypedDict):
    dataset: DatasetChoice
    tokens: NotRequired[int]
    model_id: NotRequired[str | None]
    dtype: NotRequired[Literal['auto', 'float32', 'bfloat16', 'float16']]
    device: NotRequired[str]


class SaeEvaluation(TypedDict):
    tokens: int
    dataset: DatasetChoice
    held_out: bool
    model_row_id: str
    quantization: Literal['none', '8bit', '4bit']
    context_size: int
    skip_positions: int
    explained_variance: float | None
    explained_variance_per_token: float | None
    mse: float | None
    cosine: float | None
    l0: float | None
    dead_features: int
    dense_features: int
    density_histogram: DensityHistogram
    ce_clean: float | None
    ce_reconstructed: float | None
    ce_zero: float | None
    loss_recovered: float | None
    shrinkage: float | None
    relative_reconstruction_bias: float | None
    engine: str
    evaluated_at: str


class SaeFeature(TypedDict):
    index: int
    density: float
    max: float
    histogram: FeatureHistogram
    passages: list[FeaturePassage]
    promoted: list[TokenEffect] | None
    suppressed: list[TokenEffect] | None


class SaeFeatureItem(TypedDict):
    index: int
    density: float
    max: float
    top_token: str | None
    promoted: list[str]


class SaeFeaturePage(TypedDict):
    items: list[SaeFeatureItem]
    total: int
    limit: int
    offset: int


class SaeFeaturesBuild(TypedDict):
    dataset: DatasetChoice
    tokens: NotRequired[int]
    model_id: NotRequired[str | None]
    dtype: NotRequired[Literal['auto', 'float32', 'bfloat16', 'float16']]
    device: NotRequired[str]
    top: NotRequired[int]


class SaeFeaturesFacts(TypedDict):
    dataset: DatasetChoice
    tokens: int
    top: int
    active_features: int
    final_norm: str | None
    model_row_id: str
    size_bytes: int
    built_at: str


class SaeFeaturesForText(TypedDict):
    text: str
    top: NotRequired[int]
    model_id: NotRequired[str | None]


class SaeImport(TypedDict):
    path: str
    name: NotRequired[str | None]


class SaePage(TypedDict):
    items: list[SaeResponse]
    total: int
    limit: int
    offset: int


class SaeResponse(TypedDict):
    id: str
    name: str
    status: Literal['downloading', 'ready', 'failed', 'cancelled']
    model_id: str | None
    commit: str | None
    quantization: Literal['none', '8bit', '4bit'] | None
    dtype: str | None
    hook_point: str | None
    d_in: int | None
    d_sae: int | None
    architecture: str | None
    context_size: int | None
    source: Literal['trained', 'imported', 'hub']
    training_id: str | None
    repo_id: str | None
    repo_commit: str | None
    repo_path: str | None
    folder: str
    size_bytes: int | None
    evaluation: SaeEvaluation | None
    features: SaeFeaturesFacts | None
    compatible_with: list[str]
    warnings: list[SaeWarning]
    work: SaeWork | None
    used_by: list[UsedBy]
    created_at: str
    updated_at: str


class SaeTextFeatures(TypedDict):
    model_id: str
    tokens: list[TextToken]
    features: list[ActiveFeature]
    active_features: int


class SaeWarning(TypedDict):
    code: Literal['model_not_installed', 'unknown_model', 'unknown_hook_point', 'transformer_lens', 'width_mismatch', 'other_precision', 'other_commit', 'files_missing']
    message: str
    model_id: NotRequired[str | None]


class SaeWork(TypedDict):
    kind: Literal['download', 'evaluate', 'features']
    state: Literal['waiting', 'running', 'stopping', 'done', 'failed', 'cancelled']
    phase: str | None
    done: int
    total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    message: str | None
    error: ErrorDetail | None
    created_at: str
    finished_at: str | None


class SearchItem(TypedDict):
    model_id: str
    downloads: int | None
    likes: int | None
    num_parameters: int | None
    size_bytes: int | None
    access: Literal['open', 'accepted', 'needs_acceptance', 'no_token', 'token_invalid', 'unknown']
    pipeline_tag: str | None
    licence: str | None
    model_type: str | None
    weights_bytes: int | None
    fits: Literal['fits', 'tight', 'does_not_fit', 'unknown']
    installed: bool
    is_sample: NotRequired[bool]


class SearchPage(TypedDict):
    items: list[SearchItem]
    next_cursor: str | None


class SessionRequest(TypedDict):
    api_key: str


class SettingsResponse(TypedDict):
    endpoint: str
    endpoint_source: Literal['default', 'environment', 'settings', 'builtin']
    parallel_downloads: int
    connections: int
    bandwidth_limit_bytes_per_second: int | None
    download_order: Literal['oldest_first', 'smallest_first']
    token_set: bool
    token_note: NotRequired[str | None]
    defaults: Defaults
    prefer_fast_dtype: NotRequired[bool]


class SettingsUpdate(TypedDict):
    endpoint: NotRequired[str | None]
    parallel_downloads: NotRequired[int | None]
    connections: NotRequired[int | None]
    bandwidth_limit_bytes_per_second: NotRequired[int | None]
    download_order: NotRequired[Literal['oldest_first', 'smallest_first'] | None]
    token: NotRequired[str | None]
    defaults: NotRequired[Defaults | None]
    prefer_fast_dtype: NotRequired[bool | None]


class StoragePlace(TypedDict):
    path: str
    purpose: str


class StoredDataset(TypedDict):
    name: str
    path: str
    size_bytes: int
    created_at: str
    used_by: list[DatasetUser]


class StreamOptions(TypedDict):
    include_usage: NotRequired[bool]


class Support(TypedDict):
    level: Literal['supported', 'unverified', 'unsupported']
    reasons: list[Reason]


class System(TypedDict):
    version: str
    devices: list[Device]
    disks: list[Disk]
    hub: HubStatus
    extras: Extras
    missing: list[MissingExtra]
    libraries: dict[str, str | None]
    workers: list[WorkerStatus]
    warm: NotRequired[bool]
    needs_key: NotRequired[bool]
    uptime_seconds: NotRequired[float | None]


class TextFile(TypedDict):
    path: str
    text: str
    size_bytes: int
    truncated: bool


class TextPart(TypedDict):
    type: Literal['text']
    text: str


class TextToken(TypedDict):
    id: int
    text: str
    counted: bool


class TokenEffect(TypedDict):
    id: int
    text: str
    effect: float


class TrainingCompatibility(TypedDict):
    compatible: bool | None
    level: Literal['static', 'structural', 'live']
    reasons: list[Reason]
    dimensions: Dimensions
    hook_points: list[HookPoint]


class TrainingCreate(TypedDict):
    model_id: str
    hook_point: str
    dataset: DatasetChoice
    architecture: NotRequired[Literal['topk', 'batchtopk', 'matryoshka', 'standard']]
    expansion_factor: NotRequired[int]
    k: NotRequired[int | None]
    l1_coefficient: NotRequired[float | None]
    training_tokens: NotRequired[int]
    context_size: NotRequired[int]
    learning_rate: NotRequired[float]
    batch_tokens: NotRequired[int]
    seed: NotRequired[int]
    device: NotRequired[str]
    dtype: NotRequired[Literal['auto', 'float32', 'bfloat16', 'float16']]
    beginning: NotRequired[str]
    skip_positions: NotRequired[int]
    checkpoint_seconds: NotRequired[int]


class TrainingCurve(TypedDict):
    items: list[TrainingMetricPoint]


class TrainingLog(TypedDict):
    text: str
    position: int
    skipped_bytes: int


class TrainingMetricPoint(TypedDict):
    mse: float | None
    explained_variance: float | None
    explained_variance_per_token: NotRequired[float | None]
    held_out_explained_variance: NotRequired[float | None]
    held_out_explained_variance_per_token: NotRequired[float | None]
    l0: float | None
    dead_features: int | None
    step: int
    tokens: int
    tokens_per_second: float | None
    created_at: str


class TrainingMetrics(TypedDict):
    mse: float | None
    explained_variance: float | None
    explained_variance_per_token: NotRequired[float | None]
    held_out_explained_variance: NotRequired[float | None]
    held_out_explained_variance_per_token: NotRequired[float | None]
    l0: float | None
    dead_features: int | None


class TrainingPage(TypedDict):
    items: list[TrainingResponse]
    total: int
    limit: int
    offset: int


class TrainingPlan(TypedDict):
    d_in: int
    d_sae: int
    parameters: int
    steps: int
    k: int | None
    model_bytes: int | None
    forward_bytes: int
    sae_bytes: int
    batch_bytes: int
    buffer_bytes: int
    process_bytes: int
    total_bytes: int
    checkpoint_bytes: int
    output_bytes: int
    device: str
    free_bytes: int | None
    usable_bytes: int | None
    unloads: list[UnloadedForRun]
    fits: bool | None
    dataset_column: str
    dataset_columns: list[str]
    fast_dtype: NotRequired[FastDtype | None]
    fast_dtype_bytes: NotRequired[int | None]
    beginning_token: str | None
    beginning_tokens: list[str]
    dataset_tokens: int | None
    dataset_counted: bool
    epochs: float | None
    refusal: ErrorDetail | None


class TrainingProgress(TypedDict):
    phase: Literal['making_room', 'starting', 'loading', 'checking', 'filling_buffer', 'training', 'saving'] | None
    tokens_done: int
    tokens_total: int
    tokens_per_second: float | None
    eta_seconds: float | None


class TrainingResponse(TypedDict):
    id: str
    status: Literal['pending', 'running', 'cancelling', 'cancelled', 'failed', 'completed']
    model_id: str | None
    model_name: str
    commit: str
    quantization: Literal['none', '8bit', '4bit']
    hook_point: str
    dataset: DatasetChoice
    architecture: Literal['topk', 'batchtopk', 'matryoshka', 'standard']
    expansion_factor: int
    k: int | None
    l1_coefficient: float | None
    training_tokens: int
    context_size: int
    learning_rate: float
    batch_tokens: int
    seed: int
    device: str
    dtype: Literal['auto', 'float32', 'bfloat16', 'float16']
    beginning: str
    skip_positions: int
    checkpoint_seconds: int
    d_in: int
    d_sae: int
    progress: TrainingProgress
    metrics: TrainingMetrics | None
    plan: TrainingPlan
    engine: str | None
    output_path: str | None
    error: ErrorDetail | None
    resumable: bool
    job_id: str | None
    created_at: str
    updated_at: str
    started_at: str | None
    finished_at: str | None


class TrainingVerdict(TypedDict):
    compatible: bool | None
    reasons: list[Reason]


class UnloadedForRun(TypedDict):
    id: str
    name: str
    measured_bytes: int


class UpdatePlan(TypedDict):
    commit: str
    changed: list[Literal['weights', 'tokenizer', 'template', 'config', 'readme', 'other']]
    fetch_bytes: int
    id: str | None
    makes_copy: bool


class Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UsedBy(TypedDict):
    kind: Literal['loaded', 'training', 'sae']
    id: str
    name: str
    dtype: NotRequired[str | None]
    measured_bytes: NotRequired[int | None]


class Verdict(TypedDict):
    device: str
    verdict: Literal['fits', 'tight', 'does_not_fit', 'unknown']
    free_bytes: int | None
    total_bytes: int | None


class WorkerStatus(TypedDict):
    name: str
    host: str
    pid: int
    queues: list[str]
    alive: bool
    started_at: str
    seen_at: str


class BatchEvent(TypedDict):
    type: NotRequired[Literal['batch']]
    epoch: str
    from_seq: int
    seq: int
    models: list[ModelResponse]
    trainings: list[TrainingResponse]
    deleted: list[str]


class ModelDeletedEvent(TypedDict):
    type: NotRequired[Literal['model.deleted']]
    epoch: str
    seq: int
    id: str


class ModelEvent(TypedDict):
    type: Literal['model.download.progress', 'model.download.completed', 'model.download.failed', 'model.quantize.progress', 'model.updated', 'model.loaded', 'model.unloaded']
    epoch: str
    seq: int
    model: ModelResponse


class SnapshotEvent(TypedDict):
    type: NotRequired[Literal['snapshot']]
    epoch: str
    seq: int
    models: list[ModelResponse]
    counts: dict[str, int]
    trainings: list[TrainingResponse]


class TrainingDeletedEvent(TypedDict):
    type: NotRequired[Literal['training.deleted']]
    epoch: str
    seq: int
    id: str


class TrainingEvent(TypedDict):
    type: Literal['training.progress', 'training.updated']
    epoch: str
    seq: int
    training: TrainingResponse


class Problem(TypedDict):
    type: NotRequired[str]
    title: str
    status: int
    detail: str
    code: str
    hint: NotRequired[str | None]


class OpenAIErrorBody(TypedDict):
    message: str
    type: str
    code: str
    param: NotRequired[str | None]


class OpenAIError(TypedDict):
    error: OpenAIErrorBody


Event = SnapshotEvent | BatchEvent | ModelEvent | ModelDeletedEvent | TrainingEvent | TrainingDeletedEvent
