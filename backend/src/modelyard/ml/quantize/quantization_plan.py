"""Which parameters are quantized, which are left alone and why, and the bytes they take; the only place with the rule.

8bit is what transformers' `from_pretrained` does with a `BitsAndBytesConfig`: `nn.Linear` and GPT-2's `Conv1D` are
converted, by exact type, except for the names transformers itself keeps back. 4bit is the same and, unless it is to be
`plain`, what `packed_experts` adds: fused experts, one matrix at a time, and Falcon's linear layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

BITSANDBYTES = "bitsandbytes"
PACKING_METHOD = "modelyard_4bit"  # the `quant_method` of a checkpoint with packed experts
BLOCK = 64  # elements that share one absmax
NESTED_BLOCK = 256  # absmax values that share one second-level absmax
NF4_CODE_BYTES = 16 * 4
NESTED_CODE_BYTES = 256 * 4
NESTED_OFFSET_BYTES = 4

# The names transformers' `use_experts_implementation` classes index by expert, and nothing else, in their eager form.
_EXPERT_NAMES = ("gate_up_proj", "up_proj", "down_proj")
# Subclasses of nn.Linear that compute what nn.Linear computes.
_SAME_AS_LINEAR = {"transformers.models.falcon.modeling_falcon.FalconLinear"}

_CANNOT_RUN = "transformers and bitsandbytes, as installed, cannot run this architecture quantized like this."
_CANNOT_RELOAD = "transformers, as installed, cannot read back what it saves of this architecture quantized like this."
REFUSED = {
    ("mamba", "8bit"): _CANNOT_RUN,
    ("mamba", "4bit"): _CANNOT_RUN,
    ("longcat_flash", "4bit"): _CANNOT_RUN,
    ("llama4", "8bit"): _CANNOT_RELOAD,
    ("llama4_text", "8bit"): _CANNOT_RELOAD,
}
"""(model type, quantization) → why no copy can be made, found by making one of every type."""


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
    """The parameters of a model, split: quantized as a whole, packed expert by expert, or kept for a reason.

    Of what bitsandbytes keeps, `packable` can be quantized all the same; `with_packing` is the plan that does so.
    """

    quantized: frozenset[str]
    packed: frozenset[str]
    kept: dict[str, KeptBecause]
    packable: frozenset[str]

    def with_packing(self) -> "QuantizationPlan":
        experts = {name for name in self.packable if self.kept[name] is KeptBecause.EXPERTS}
        kept = {name: reason for name, reason in self.kept.items() if name not in self.packable}
        return QuantizationPlan(
            self.quantized | (self.packable - experts), frozenset(experts), kept, packable=frozenset()
        )


def _int8_state(shape: torch.Size) -> int:
    return 4 * shape[0]  # one float32 scale per output row


def _nf4_state(shape: torch.Size) -> int:
    blocks = -(-shape.numel() // BLOCK)
    nested = -(-blocks // NESTED_BLOCK)
    return blocks + 4 * nested + NESTED_OFFSET_BYTES + NF4_CODE_BYTES + NESTED_CODE_BYTES


def _single_4bit_state(shape: torch.Size) -> int:
    return 4 * -(-shape.numel() // BLOCK) + NF4_CODE_BYTES


def _half(elements: int) -> int:
    return -(-elements // 2)


INT8 = Scheme("8bit", lambda elements: elements, _int8_state)
NF4 = Scheme("4bit", _half, _nf4_state)
# How a checkpoint of somebody else's may be stored; fp4 takes the same bytes as nf4.
SINGLE_4BIT = Scheme("4bit", _half, _single_4bit_state)


def stored_scheme(section: Mapping[str, Any]) -> Scheme | None:
    """Return the scheme of a checkpoint that is quantized already; `None` if it is none of those known here."""
    if section.get("quant_method", BITSANDBYTES) == PACKING_METHOD:
        return NF4
    if section.get("quant_method", BITSANDBYTES) != BITSANDBYTES:
        return None
    if section.get("load_in_8bit"):
        return INT8
    if not section.get("load_in_4bit") or section.get("bnb_4bit_quant_storage", "uint8") != "uint8":
        return None
    return NF4 if section.get("bnb_4bit_use_double_quant") else SINGLE_4BIT


def stored_shape(module: nn.Module) -> torch.Size:
    """Return the shape, output rows first, in which a converted module's matrix is quantized."""
    weight = module.get_parameter("weight")
    return torch.Size(reversed(weight.shape)) if isinstance(module, Conv1D) else weight.shape


def packed_bytes(shape: torch.Size) -> int:
    """Return the bytes of an expert parameter of this shape once packed, state included; the code tables exist once."""
    experts, elements = shape[0], shape[1:].numel()
    each = NF4.value_bytes(elements) + _nf4_state(shape[1:]) - NF4_CODE_BYTES - NESTED_CODE_BYTES
    return experts * each + NF4_CODE_BYTES + NESTED_CODE_BYTES


def same_as_linear(module: nn.Module) -> bool:
    """Return whether 4bit may treat a subclass of `nn.Linear` as one."""
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}" in _SAME_AS_LINEAR


def packable_experts(model: nn.Module) -> dict[str, torch.Size]:
    """Return the expert parameters of a skeleton (nothing tied or converted yet) that 4bit packs, with their shapes."""
    return {name: model.get_parameter(name).shape for name in plan_quantization(model).with_packing().packed}


def plan_quantization(model: nn.Module, *, skip_modules: Sequence[str] | None = None) -> QuantizationPlan:
    """Split a skeleton's parameters (nothing tied yet) as `from_pretrained` does with bitsandbytes.

    `skip_modules` replaces the modules that are kept back by default, as `llm_int8_skip_modules` does.
    """
    kept_names = get_keys_to_not_convert(model) if skip_modules is None else list(skip_modules)
    kept_in_full = list(getattr(model, "_keep_in_fp32_modules", None) or ())
    patterns = list({*kept_names, *kept_in_full})
    tied = _tied_modules(model)
    output = _output_embedding(model)
    quantized: set[str] = set()
    packable: set[str] = set()
    kept: dict[str, KeptBecause] = {}
    for path, module in model.named_modules():
        own = [(f"{path}.{name}" if path else name, p) for name, p in module.named_parameters(recurse=False)]
        if not own:
            continue
        linear = isinstance(module, Conv1D) or type(module) is nn.Linear
        convert = (linear or same_as_linear(module)) and should_convert_module(path, patterns)
        for name, parameter in own:
            if linear and convert and name.endswith(".weight"):
                quantized.add(name)
                continue
            reason = _reason(module, path, parameter, linear, output, tied, kept_names)
            kept[name] = reason
            if (reason is KeptBecause.LINEAR_SUBCLASS and convert) or (
                reason is KeptBecause.EXPERTS
                and _is_packable(module, name)
                and should_convert_module(path, kept_in_full)
            ):
                packable.add(name)
    return QuantizationPlan(frozenset(quantized), frozenset(), kept, frozenset(packable))


def _is_packable(module: nn.Module, name: str) -> bool:
    return name.rpartition(".")[2] in _EXPERT_NAMES and hasattr(module, "is_concatenated")


def _reason(
    module: nn.Module,
    path: str,
    parameter: nn.Parameter,
    linear: bool,
    output: nn.Module | None,
    tied: set[str],
    kept_names: list[str],
) -> KeptBecause:
    if module is output:
        return KeptBecause.OUTPUT_EMBEDDING
    if path in tied:
        return KeptBecause.TIED
    if isinstance(module, nn.Embedding):
        return KeptBecause.EMBEDDING
    if parameter.dim() < 2:
        return KeptBecause.VECTOR
    if linear:
        return KeptBecause.LAST_MODULE if path in kept_names else KeptBecause.KEPT_BY_MODEL
    if isinstance(module, nn.Linear):
        return KeptBecause.LINEAR_SUBCLASS
    if parameter.dim() == 3 and not isinstance(module, nn.modules.conv._ConvNd):
        return KeptBecause.EXPERTS
    return KeptBecause.OTHER_LAYER


def _tied_modules(model: nn.Module) -> set[str]:
    pairs: dict[str, str] = model.all_tied_weights_keys  # type: ignore[assignment]
    return {name.rpartition(".")[0] for pair in pairs.items() for name in pair}


def _output_embedding(model: nn.Module) -> nn.Module | None:
    found: nn.Module | None = model.get_output_embeddings()  # type: ignore[operator]
    return found
