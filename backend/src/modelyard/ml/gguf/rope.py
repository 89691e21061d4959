"""The RoPE scaling of Llama 3.1 and later. GGUF files hold it as a tensor, which transformers' reader leaves out."""

import math
from typing import Any, BinaryIO

import torch
from transformers import PreTrainedConfig

from modelyard.core.errors import UnsupportedArchitecture
from modelyard.core.gguf_header import GgufHeader

FACTORS = "rope_freqs.weight"
LOW, HIGH, LENGTH = 1.0, 4.0, 8192
"""Llama 3's bands of frequencies and the context it was trained with; only the factor differs between its versions."""

_TOLERANCE = 1e-3


def read_llama3_scaling(
    file: BinaryIO, header: GgufHeader, config: PreTrainedConfig, name: str
) -> dict[str, Any] | None:
    """Return `rope_parameters` that divide the frequencies as the file of a Llama says; None where it divides none.

    Raises UnsupportedArchitecture for factors that are not those of Llama 3.
    """
    tensor = next((tensor for tensor in header.tensors if tensor.name == FACTORS), None)
    if tensor is None or config.model_type != "llama":
        return None
    width = config.head_dim // 2
    if tensor.type == "F32" and tensor.shape == (width,):
        file.seek(header.data_start + tensor.start)
        factors = torch.frombuffer(bytearray(file.read(tensor.bytes)), dtype=torch.float32)
        theta, factor = config.rope_parameters["rope_theta"], round(factors.max().item(), 4)
        expected = torch.tensor([_divisor(theta ** (-index / width), factor) for index in range(width)])
        if torch.allclose(factors, expected, rtol=_TOLERANCE):
            return {
                "rope_type": "llama3", "rope_theta": theta, "factor": factor, "low_freq_factor": LOW,
                "high_freq_factor": HIGH, "original_max_position_embeddings": LENGTH,
            }  # fmt: skip
    raise UnsupportedArchitecture(
        f"{name} scales its position embeddings (RoPE) in a way that is not Llama 3's and is not read from GGUF files.",
        hint="Choose another GGUF file, or the repository it was made from.",
    )


def _divisor(frequency: float, factor: float) -> float:
    """Return what a frequency is divided by, as `_compute_llama3_parameters` of transformers does it."""
    wavelength = 2 * math.pi / frequency
    if wavelength < LENGTH / HIGH:
        return 1.0
    if wavelength > LENGTH / LOW:
        return factor
    smooth = (LENGTH / wavelength - LOW) / (HIGH - LOW)
    return 1 / ((1 - smooth) / factor + smooth)
