"""Which parameters bitsandbytes quantizes, which it leaves alone and why, and the bytes of a quantized matrix.

The only place that knows the rule. It follows what transformers' `from_pretrained` does with a `BitsAndBytesConfig`:
`nn.Linear` and GPT-2's `Conv1D` are converted, by exact type, except for the names transformers itself keeps back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

BLOCK = 64  # elements that share one absmax
NESTED_BLOCK = 256  # absmax values that share one second-level absmax
NF4_CODE_BYTES = 16 * 4
NESTED_CODE_BYTES = 256 * 4
NESTED_OFFSET_BYTES = 4


class KeptBecause(StrEnum):
    """Why a parameter keeps the load dtype."""

    OUTPUT_EMBEDDING = "output_embedding"
    TIED = "tied"
    LAST_MODULE = "last_module"
    KEPT_BY_MODEL = "kept_by_model"
    EMBEDDING = "embedding"
    EXPERTS = "experts"
    LINEAR_SUBCLASS = "linear_subclass"
    OTHER_LAYER = "other_layer"
    VECTOR = "vector"


@dataclass(frozen=True)
class Scheme:
    """How a matrix is stored: its packed values and the state needed to read them, in bytes."""

    name: str
    value_bytes: Callable[[int], int]
    state_bytes: Callable[[torch.Size], int]


@dataclass(frozen=True)
class QuantizationPlan:
    """The parameters of a model, split: `quantized` names, and for every other name the reason it is kept."""

    quantized: frozenset[str]
    kept: dict[str, KeptBecause]


def _int8_state(shape: torch.Size) -> int:
    return 4 * shape[0]  # one float32 scale per output row


def _nf4_state(shape: torch.Size) -> int:
    blocks = -(-shape.numel() // BLOCK)
    nested = -(-blocks // NESTED_BLOCK)
    return blocks + 4 * nested + NESTED_OFFSET_BYTES + NF4_CODE_BYTES + NESTED_CODE_BYTES


INT8 = Scheme("8bit", lambda elements: elements, _int8_state)
NF4 = Scheme("4bit", lambda elements: -(-elements // 2), _nf4_state)


def stored_shape(module: nn.Module) -> torch.Size:
    """The shape, output rows first, in which a converted module's matrix is quantized."""
    weight = module.get_parameter("weight")
    return torch.Size(reversed(weight.shape)) if isinstance(module, Conv1D) else weight.shape


def plan_quantization(model: nn.Module) -> QuantizationPlan:
    """Split a skeleton's parameters (nothing tied yet) as `from_pretrained(quantization_config=…)` does."""
    kept_names = get_keys_to_not_convert(model)
    patterns = list({*kept_names, *(getattr(model, "_keep_in_fp32_modules", None) or ())})
    tied = _tied_modules(model)
    output = _output_embedding(model)
    quantized: set[str] = set()
    kept: dict[str, KeptBecause] = {}
    for path, module in model.named_modules():
        own = [(f"{path}.{name}" if path else name, p) for name, p in module.named_parameters(recurse=False)]
        if not own:
            continue
        convertible = isinstance(module, Conv1D) or type(module) is nn.Linear
        if convertible and should_convert_module(path, patterns):
            quantized.add(f"{path}.weight")
            kept.update({name: KeptBecause.VECTOR for name, _ in own if not name.endswith(".weight")})
            continue
        for name, parameter in own:
            if module is output:
                reason = KeptBecause.OUTPUT_EMBEDDING
            elif path in tied:
                reason = KeptBecause.TIED
            elif isinstance(module, nn.Embedding):
                reason = KeptBecause.EMBEDDING
            elif parameter.dim() < 2:
                reason = KeptBecause.VECTOR
            elif convertible:
                reason = KeptBecause.LAST_MODULE if path in kept_names else KeptBecause.KEPT_BY_MODEL
            elif isinstance(module, nn.Linear):
                reason = KeptBecause.LINEAR_SUBCLASS
            elif parameter.dim() == 3 and not isinstance(module, nn.modules.conv._ConvNd):
                reason = KeptBecause.EXPERTS
            else:
                reason = KeptBecause.OTHER_LAYER
            kept[name] = reason
    return QuantizationPlan(frozenset(quantized), kept)


def _tied_modules(model: nn.Module) -> set[str]:
    pairs: dict[str, str] = model.all_tied_weights_keys  # type: ignore[assignment]
    return {name.rpartition(".")[0] for pair in pairs.items() for name in pair}


def _output_embedding(model: nn.Module) -> nn.Module | None:
    found: nn.Module | None = model.get_output_embeddings()  # type: ignore[operator]
    return found
