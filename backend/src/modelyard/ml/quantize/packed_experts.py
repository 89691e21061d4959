"""4-bit storage for what bitsandbytes leaves alone: the fused experts of a mixture of experts, and Falcon's linears.

transformers converts only modules whose type is exactly `nn.Linear`. Experts are single three-dimensional parameters,
so it keeps them, and with them nearly the whole model. Here each expert is quantized by itself with bitsandbytes' own
kernels and dequantized by itself when a token is routed to it: an access never holds more than one expert in full.
Everything is an ordinary buffer, so that saving, loading and moving need no special cases.

Importing this module registers the quantizer with transformers; a checkpoint that names it then loads with
`from_pretrained`.
"""

import copy
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import MODULES_TO_PATCH_FOR_QUANTIZATION
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

from modelyard.ml.loading.import_bitsandbytes import QuantState, dequantize_4bit, quantize_4bit
from modelyard.ml.quantize.quantization_plan import (
    BLOCK,
    NESTED_BLOCK,
    NESTED_CODE_BYTES,
    NF4_CODE_BYTES,
    PACKING_METHOD,
    packable_experts,
    same_as_linear,
)


class PackedExperts(nn.Module):
    """Stands in for an expert parameter: `experts.down_proj[index]` is that expert's matrix in `dtype`."""

    packed: torch.Tensor
    absmax: torch.Tensor
    nested_absmax: torch.Tensor
    offset: torch.Tensor
    code: torch.Tensor
    nested_code: torch.Tensor

    def __init__(self, shape: torch.Size, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        experts, elements = shape[0], shape[1:].numel()
        blocks = -(-elements // BLOCK)
        self.shape, self.dtype = shape, dtype

        def buffer(name: str, *size: int, kind: torch.dtype) -> None:
            self.register_buffer(name, torch.empty(size, dtype=kind, device=device))

        buffer("packed", experts, -(-elements // 2), kind=torch.uint8)
        buffer("absmax", experts, blocks, kind=torch.uint8)
        buffer("nested_absmax", experts, -(-blocks // NESTED_BLOCK), kind=torch.float32)
        buffer("offset", experts, kind=torch.float32)
        buffer("code", NF4_CODE_BYTES // 4, kind=torch.float32)
        buffer("nested_code", NESTED_CODE_BYTES // 4, kind=torch.float32)

    @classmethod
    def quantize(cls, weights: torch.Tensor) -> "PackedExperts":
        """Pack the experts of one parameter, on the device it is on."""
        packed = cls(weights.shape, weights.dtype, weights.device)
        for index, expert in enumerate(weights):
            values, state = quantize_4bit(
                expert.contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
            )
            packed.packed[index] = values.view(-1)
            packed.absmax[index] = state.absmax
            packed.nested_absmax[index] = state.state2.absmax
            packed.offset[index] = state.offset
            packed.code.copy_(state.code)
            packed.nested_code.copy_(state.state2.code)
        return packed

    def __getitem__(self, index: Any) -> torch.Tensor:
        expert = int(index)
        nested = QuantState(
            absmax=self.nested_absmax[expert], blocksize=NESTED_BLOCK, code=self.nested_code, dtype=torch.float32
        )
        state = QuantState(
            absmax=self.absmax[expert],
            shape=(self.shape[1:].numel(),),  # as rows, bitsandbytes 0.50 misreads blocks that straddle them on a CPU
            code=self.code,
            blocksize=BLOCK,
            quant_type="nf4",
            dtype=self.dtype,
            offset=self.offset[expert],
            state2=nested,
        )
        matrix: torch.Tensor = dequantize_4bit(self.packed[expert].view(-1, 1), state)
        return matrix.view(self.shape[1:])

    def extra_repr(self) -> str:
        return f"{tuple(self.shape)}, 4bit"


@register_quantization_config(PACKING_METHOD)
class FourBitConfig(BitsAndBytesConfig):  # type: ignore[misc]
    """nf4 with double quantization for everything 4bit can cover.

    A model that needs none of what this module adds ends up with a plain `BitsAndBytesConfig`.
    """

    def __init__(self, bnb_4bit_compute_dtype: Any = None, **kwargs: Any) -> None:
        kwargs |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        super().__init__(bnb_4bit_compute_dtype=bnb_4bit_compute_dtype, **kwargs)
        self.quant_method = PACKING_METHOD

    def plain(self) -> BitsAndBytesConfig:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=self.bnb_4bit_compute_dtype,
        )

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = super().to_dict()
        # With these, a reader that does not know the method would take it for plain bitsandbytes.
        return {key: value for key, value in values.items() if "load_in" not in key}


class _QuantizeExperts(ConversionOps):  # type: ignore[misc]
    """Packs an expert parameter as soon as it has been read; hands everything else on."""

    def __init__(self, quantizer: "FourBitQuantizer") -> None:
        self._quantizer = quantizer
        self._linear = quantizer.linear_ops()

    def convert(
        self, input_dict: dict[str, Any], *, model: nn.Module, missing_keys: set[str], **kwargs: Any
    ) -> dict[str, Any]:
        name, tensors = next(iter(input_dict.items()))
        if name not in self._quantizer.experts:
            converted: dict[str, Any] = self._linear.convert(
                input_dict, model=model, missing_keys=missing_keys, **kwargs
            )
            return converted
        weights = tensors[0] if isinstance(tensors, list) else tensors
        _replace(model, name, PackedExperts.quantize(weights))
        missing_keys.discard(name)
        return {}


def _replace(model: nn.Module, name: str, packed: PackedExperts) -> None:
    path, _, attribute = name.rpartition(".")
    module = model.get_submodule(path)
    delattr(module, attribute)
    module.add_module(attribute, packed)
    # Its initializer would treat the stand-in as a parameter.
    module._is_hf_initialized = True  # type: ignore[assignment]


@register_quantizer(PACKING_METHOD)
class FourBitQuantizer(Bnb4BitHfQuantizer):  # type: ignore[misc]
    """transformers' 4-bit quantizer, which also packs experts and takes Falcon's linear layers for linear layers."""

    quantization_config: FourBitConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.experts: dict[str, torch.Size] = {}
        self._special = False

    def update_attn_implementation(self, config: Any) -> Any:
        config._experts_implementation = "eager"  # the only one that asks for one expert at a time
        return config

    def _process_model_before_weight_loading(self, model: nn.Module, device_map: Any, **kwargs: Any) -> None:
        self.experts = packable_experts(model)
        subclassed = [module for module in model.modules() if same_as_linear(module)]
        for module in subclassed:
            module.__class__ = nn.Linear
        # transformers swaps these for other modules when it reads plain bitsandbytes weights, not when it makes them.
        swapped = [module for module in model.modules() if type(module).__name__ in MODULES_TO_PATCH_FOR_QUANTIZATION]
        self._special = bool(self.experts or subclassed or swapped)
        super()._process_model_before_weight_loading(model, device_map, **kwargs)
        if self.pre_quantized:
            for name, shape in self.experts.items():
                _replace(model, name, PackedExperts(shape, model.get_parameter(name).dtype, "meta"))

    def param_needs_quantization(self, model: nn.Module, param_name: str, **kwargs: Any) -> bool:
        return param_name in self.experts or super().param_needs_quantization(model, param_name, **kwargs)

    def get_quantize_ops(self) -> ConversionOps:
        return _QuantizeExperts(self)

    def linear_ops(self) -> ConversionOps:
        return super().get_quantize_ops()

    def postprocess_model(self, model: nn.Module, **kwargs: Any) -> Any:
        if not self._special:
            self.quantization_config = copy.copy(self.quantization_config).plain()
        return super().postprocess_model(model, **kwargs)
