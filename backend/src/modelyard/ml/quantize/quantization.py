"""bitsandbytes' settings for 8bit and 4bit, and the bytes a loaded model really holds."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import BitsAndBytesConfig

from modelyard.core.statuses import QuantizationName
from modelyard.ml.loading import devices
from modelyard.ml.loading.import_bitsandbytes import (
    Linear4bit,
    Linear8bitLt,
    MatmulLtState,
    QuantState,
    dequantize_4bit,
)
from modelyard.ml.quantize.packed_experts import FourBitConfig, PackedExperts
from modelyard.ml.quantize.quantization_plan import BLOCK

# It says with every layer's first product that inputs are cast to float16, which is how LLM.int8 works.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def get_quantization_config(quantization: QuantizationName, device: torch.device) -> BitsAndBytesConfig | None:
    """Return what `from_pretrained` needs to quantize on the fly: LLM.int8 for 8bit, double-quantized nf4 for 4bit.

    Parts that stay unquantized keep the load dtype. 4bit computes in what is best on `device`, which changes nothing
    that is stored.
    """
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    if quantization == "4bit":
        return FourBitConfig(bnb_4bit_compute_dtype=best_compute_dtype(device))
    return None


def best_compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has it."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            supported = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if supported else torch.float16
    if device.type == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float16
    return torch.bfloat16


def measured_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's unique storages: parameters, buffers, tensor attributes, quantization state.

    Parts that accelerate keeps in main memory between two passes are counted there.
    """
    return sum(unique_storages(model).values())


def unique_storages(model: nn.Module) -> dict[tuple[torch.device, int], int]:
    """Map each storage's device and address to its bytes."""
    storages: dict[tuple[torch.device, int], int] = {}
    for module in model.modules():
        for value in (*vars(module).values(), *module._parameters.values(), *module._buffers.values()):
            for tensor in (*_tensors(value), *_offloaded(module)):
                if tensor.device.type != "meta":
                    storage = tensor.untyped_storage()
                    storages[tensor.device, storage.data_ptr()] = storage.nbytes()
    return storages


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        for inner in vars(value).values():  # CB, SCB or quant_state of bitsandbytes' parameters
            yield from _tensors(inner)
    elif isinstance(value, QuantState | MatmulLtState):
        for inner in vars(value).values():
            yield from _tensors(inner)


def _offloaded(module: nn.Module) -> Iterator[torch.Tensor]:
    for hook in devices.placement_hooks(module):
        if hook.offload:
            for name, parameter in module.named_parameters(recurse=hook.place_submodules):
                if parameter.device.type == "meta":
                    yield hook.weights_map[name]


def is_quantized(model: nn.Module) -> bool:
    """Return whether any weight of the model is."""
    return any(isinstance(module, Linear4bit | Linear8bitLt | PackedExperts) for module in model.modules())


class _Linear4bitOfAnyShape(Linear4bit):  # type: ignore[misc]
    """For a CPU, where bitsandbytes 0.50 asserts on, or silently misreads, rows that are not whole blocks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = copy.copy(self.weight.quant_state)
        shape, state.shape = state.shape, (state.shape.numel(),)
        dtype = self.compute_dtype or x.dtype
        matrix = dequantize_4bit(self.weight.data, state).view(shape).to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        return functional.linear(x.to(dtype), matrix, bias).to(x.dtype)


class _Linear8bitOfAnyRank(Linear8bitLt):  # type: ignore[misc]
    """bitsandbytes 0.50 takes at most three dimensions; multi-head latent attention hands over four."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = super().forward(x.reshape(-1, x.shape[-1]))
        return product.view(*x.shape[:-1], product.shape[-1])


def mend(model: nn.Module) -> None:
    """Make every quantized layer compute what it should, where bitsandbytes does not. Nothing stored changes."""
    for module in model.modules():
        if type(module) is Linear8bitLt:
            module.__class__ = _Linear8bitOfAnyRank
        elif type(module) is Linear4bit and _is_odd(module):
            module.__class__ = _Linear4bitOfAnyShape


def _is_odd(layer: Linear4bit) -> bool:
    on_cpu = layer.weight.device.type == "cpu"
    return on_cpu and bool(layer.out_features % 32 or layer.in_features % BLOCK)
