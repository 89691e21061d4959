"""How fast this processor multiplies in bfloat16, against float32."""

import time
from dataclasses import dataclass

import torch
from torch.nn import functional

TOKENS, WIDTH, INNER = 64, 1024, 4096
"""The product of one layer of a small model, for a prompt of this length."""
SECONDS, LEAST_RUNS = 0.25, 3
"""How long each dtype is measured; the fastest run counts, because others are disturbed."""


@dataclass(frozen=True)
class DtypeSpeed:
    """Seconds of one product."""

    float32_seconds: float
    bfloat16_seconds: float


def measure_dtype_speed() -> DtypeSpeed:
    """Multiply in both dtypes; takes under a second, or three runs where one takes longer."""
    return DtypeSpeed(_seconds(torch.float32), _seconds(torch.bfloat16))


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    tokens, weight = torch.ones(TOKENS, WIDTH, dtype=dtype), torch.ones(INNER, WIDTH, dtype=dtype)
    functional.linear(tokens, weight)  # the first one chooses its kernel
    begun, runs = time.perf_counter(), list[float]()
    while len(runs) < LEAST_RUNS or time.perf_counter() - begun < SECONDS:
        started = time.perf_counter()
        functional.linear(tokens, weight)
        runs.append(time.perf_counter() - started)
    return min(runs)
