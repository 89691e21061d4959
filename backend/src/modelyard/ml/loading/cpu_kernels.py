"""Which of bitsandbytes' products this machine's CPU has kernels for. Without one a product needs more memory."""

from dataclasses import dataclass
from functools import cache

import torch

from modelyard.ml.loading.devices import accelerators


@dataclass(frozen=True)
class CpuKernels:
    """`int8_products` multiplies rounded inputs with 8bit matrices as they are, instead of in float32.

    `packed_4bit_products` multiplies with 4bit matrices without unpacking them, after the first product has repacked
    them.
    """

    int8_products: bool
    packed_4bit_products: bool


@cache
def cpu_kernels() -> CpuKernels:
    """Return the kernels that every product on this machine can rely on.

    A GPU unpacks 4bit matrices whatever the CPU can do, and a model may run on either.
    """
    return CpuKernels(
        int8_products=torch.backends.cpu.get_cpu_capability() == "AVX512",
        packed_4bit_products=torch.cpu.get_capabilities().get("avx512_bf16", False) and not accelerators(),
    )
