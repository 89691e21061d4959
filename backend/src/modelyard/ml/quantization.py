"""bitsandbytes' settings for 8bit and 4bit, and the bytes a loaded model really holds."""

import logging
from collections.abc import Iterator
from typing import Any, Literal

import torch
from bitsandbytes import MatmulLtState
from bitsandbytes.functional import QuantState
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn
from transformers import BitsAndBytesConfig

from modelyard.ml.packed_experts import FourBitConfig, PackedExperts

Quantization = Literal["none", "8bit", "4bit"]

# It says with every layer's first product that inputs are cast to float16, which is how LLM.int8 works.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def quantization_config(quantization: Quantization, compute_dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """What `from_pretrained` needs to quantize on the fly: LLM.int8 for 8bit, double-quantized nf4 for 4bit.

    Parts that stay unquantized keep the load dtype; `compute_dtype` (4bit only) changes nothing that is stored.
    """
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    if quantization == "4bit":
        return FourBitConfig(bnb_4bit_compute_dtype=compute_dtype)
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
    """Bytes of the unique storages a model holds: parameters, buffers, plain tensor attributes, quantization state."""
    storages: dict[tuple[torch.device, int], int] = {}
    for module in model.modules():
        for value in (*vars(module).values(), *module._parameters.values(), *module._buffers.values()):
            for tensor in _tensors(value):
                if tensor.device.type != "meta":
                    storage = tensor.untyped_storage()
                    storages[tensor.device, storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        for inner in vars(value).values():  # CB, SCB or quant_state of bitsandbytes' parameters
            yield from _tensors(inner)
    elif isinstance(value, QuantState | MatmulLtState):
        for inner in vars(value).values():
            yield from _tensors(inner)


def is_quantized(model: nn.Module) -> bool:
    """Whether any weight of the model is."""
    return any(isinstance(module, Linear4bit | Linear8bitLt | PackedExperts) for module in model.modules())


def keep_odd_shapes_off_the_fast_path(model: nn.Module) -> None:
    """Let layers compute whose shape bitsandbytes' AVX512 path on CPU refuses with an assertion."""
    for module in model.modules():
        if isinstance(module, Linear4bit) and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False
