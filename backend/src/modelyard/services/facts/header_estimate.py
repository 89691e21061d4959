"""Memory from safetensors headers alone: fast, needs no torch, and approximate.

Bytes per quantized matrix of n elements (bitsandbytes): LLM.int8 n + 4 per output row; nf4 with double quantization
ceil(n/2) + ceil(n/64) + 4 ceil(ceil(n/64)/256) + 4 + 64 + 1024 (each module keeps its own code tables).
Headers do not tell a module's class nor the buffers a model makes itself; that is why the answer is not exact.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.schemas.memory import KvCacheSegment
from modelyard.services.facts.config_facts import text_part

DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "U64": 8, "U32": 4, "U16": 2,
}  # fmt: skip
DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
LOAD_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_NOT_LINEAR = re.compile(
    r"(embed|wte|wpe|lm_head|embed_out|output_projection|norm|\bln_|layernorm|\.experts\.\d+\.|conv1d|rotary|\brouter\b)",
    re.IGNORECASE,
)


# Compressed keys, chunks and windows, states instead of a cache, layers that have none or share one, and keys that
# Falcon repeats for every head before it stores them; text towers of image models, which keep no cache.
_NOT_PLAIN_ATTENTION = (
    "kv_lora_rank", "attention_chunk_size", "attention_window_size", "state_size", "mamba_d_state", "ssm_cfg",
    "layers_block_type", "hybrid_override_pattern", "block_types", "attn_layer_period", "attn_layer_indices",
    "num_kv_shared_layers", "full_attention_interval", "linear_num_key_heads", "linear_attn_config", "full_attn_idxs",
    "attention_types", "global_attn_every_n_layers", "hybrid_layer_pattern", "compress_ratios", "index_topk",
    "mamba_expand", "conv_L_cache", "new_decoder_architecture", "projection_dim",
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A stored tensor, as the header of its file describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def stored_bytes(self) -> int:
        return self.elements * DTYPE_BYTES.get(self.dtype, 2)


@dataclass(frozen=True)
class WeightFigures:
    """Bytes of the loaded weights in one precision."""

    weights_bytes: int
    quantization_state_bytes: int
    quantized_fraction: float


def stored_bytes(parameters_by_dtype: Mapping[str, int]) -> int | None:
    """Return the bytes of so many parameters as they are stored, None where none were counted."""
    return sum(count * DTYPE_BYTES.get(dtype, 2) for dtype, count in parameters_by_dtype.items()) or None


def checkpoint_dtype(tensors: Iterable[Tensor]) -> str | None:
    """Return the floating dtype most of the elements are stored in. Integers hold packed weights, or none."""
    elements: dict[str, int] = {}
    for tensor in tensors:
        if tensor.dtype.startswith(("F", "BF")):
            elements[tensor.dtype] = elements.get(tensor.dtype, 0) + tensor.elements
    return DTYPE_NAMES.get(max(elements, key=lambda dtype: elements[dtype])) if elements else None


def first_dtype(tensors: Iterable[Tensor]) -> str | None:
    """Return the dtype of the first floating tensor: what transformers loads in where a configuration names none."""
    return next((DTYPE_NAMES[tensor.dtype] for tensor in tensors if tensor.dtype in DTYPE_NAMES), None)


def weight_figures(tensors: Iterable[Tensor], quantization: str, load_dtype: str) -> WeightFigures:
    """Apply bitsandbytes' rules to the tensors of a checkpoint loaded in `load_dtype`."""
    total = state = quantized_elements = all_elements = 0
    width = LOAD_BYTES[load_dtype]
    for tensor in tensors:
        floating = tensor.dtype in DTYPE_NAMES or tensor.dtype == "F64"
        plain = tensor.elements * width if floating else tensor.stored_bytes
        all_elements += tensor.elements
        if quantization == "none" or not floating or not is_linear(tensor):
            total += plain
            continue
        weight, extra = quantized_bytes(tensor, quantization)
        total += weight + extra
        state += extra
        quantized_elements += tensor.elements
    return WeightFigures(total, state, quantized_elements / all_elements if all_elements else 0.0)


def is_linear(tensor: Tensor) -> bool:
    """Return whether the tensor looks like the weight of a linear layer that bitsandbytes converts."""
    return len(tensor.shape) == 2 and tensor.name.endswith(".weight") and not _NOT_LINEAR.search(tensor.name)


def quantized_bytes(tensor: Tensor, quantization: str) -> tuple[int, int]:
    """(weight bytes, state bytes) of one quantized matrix."""
    n = tensor.elements
    if quantization == "8bit":
        return n, 4 * tensor.shape[0]
    blocks = math.ceil(n / 64)
    return math.ceil(n / 2), blocks + 4 * math.ceil(blocks / 256) + 4 + 64 + 1024


def kv_cache_segments(
    dimensions: Mapping[str, int | None], config: Mapping[str, Any], dtype: str
) -> list[KvCacheSegment]:
    """Keys and values of every layer, for plain attention only; empty where that is not what the model has."""
    from modelyard.ml.inspect.support import is_encoder

    text = text_part(config)
    if is_encoder(config) or config.get("is_encoder_decoder"):
        return []
    sliding = text.get("sliding_window") and text.get("use_sliding_window") is not False
    layer_types = text.get("layer_types")
    mixed = isinstance(layer_types, list) and any(kind != "full_attention" for kind in layer_types)
    if sliding or mixed or any(text.get(name) for name in _NOT_PLAIN_ATTENTION):
        return []
    layers, heads, width = (dimensions.get(name) for name in ("num_layers", "num_key_value_heads", "head_dim"))
    if not (layers and heads and width):
        return []
    return [
        KvCacheSegment(from_tokens=0, bytes_at_from=0, bytes_per_token=2 * layers * heads * width * LOAD_BYTES[dtype])
    ]
