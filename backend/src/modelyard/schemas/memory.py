"""Memory estimates."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import QuantizationName
from modelyard.schemas import examples
from modelyard.schemas.common import DtypeName, Schema


class KvCacheSegment(Schema):
    """From `from_tokens` on, one sequence's cache is `bytes_at_from + (n - from_tokens) * bytes_per_token`."""

    from_tokens: int
    bytes_at_from: int
    bytes_per_token: int


EstimateParts = Literal["weights", "all"]


VerdictName = Literal["fits", "tight", "does_not_fit", "unknown"]


class Verdict(Schema):
    """Whether an option fits one device's free memory."""

    device: str
    verdict: VerdictName
    free_bytes: int | None
    total_bytes: int | None


class FastDtype(Schema):
    """A dtype that this host computes faster in than in the stored one; measured once."""

    dtype: DtypeName
    prefill_speedup: float = Field(description="Factor by which a prompt is processed faster.")


class MemoryOption(Schema):
    """Memory in one precision."""

    quantization: QuantizationName
    weights_bytes: int | None
    quantization_state_bytes: int | None
    quantized_fraction: float | None
    kv_cache_bytes: int | None
    activation_bytes: int | None
    overhead_bytes: int | None
    total_bytes: int | None = Field(description="Sum of the known parts.")
    total_is_lower_bound: bool = Field(description="Whether a part is not known, so that the total is a lower bound.")
    load_peak_bytes: int | None
    download_bytes: int | None
    disk_bytes: int | None
    fast_dtype_bytes: int | None = Field(
        default=None, description="Additional bytes of the weights in `fast_dtype`; null if not known."
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
        description="Whether asking again may give better figures, because the server had no time for all of them."
    )
    adapter_bytes: int = Field(
        default=0, description="Part of each option's `weights_bytes` that an adapter takes; the rest is its base's."
    )
    num_parameters: int | None
    dtype: str | None
    fast_dtype: FastDtype | None = Field(
        default=None,
        description="Set if the hosts that load models are slower in `dtype`; loads in this dtype are faster.",
    )
    kv_cache_segments: list[KvCacheSegment]
    context: int = Field(description="Tokens per sequence: as requested, but at most the model's limit.")
    batch: int
    options: list[MemoryOption]
