"""The memory a model needs in each precision."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import DtypeName, QuantizationName, Schema


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
