"""Processors that compute faster in float32 than in the bfloat16 that most models are stored in: measured once."""

import hashlib
import logging
import os
import platform
import socket
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from modelyard.core.database import Database
from modelyard.schemas.model import FastDtype
from modelyard.schemas.system import Device
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService

logger = logging.getLogger(__name__)

SLOW, FAST = "bfloat16", "float32"
LEAST_SPEEDUP = 1.5
"""Below this nothing is gained that twice the memory would be worth."""
MEASURE_SECONDS = 10.0

_HOST = "host"
_RELEVANT = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that keep the libraries from using all of a processor."""


def fast_dtype(
    database: Database, stored: str | None, devices: Sequence[Device], *, seconds: float = MEASURE_SECONDS
) -> FastDtype | None:
    """Return the dtype in which this host computes faster than in `stored`, with how much; None where there is none.

    A host with an accelerator computes there. Waits up to `seconds` for the measurement, which is made once; where it
    cannot be made the answer is None, and it is tried again the next time.
    """
    if stored != SLOW or any(device.id != "cpu" for device in devices):
        return None
    try:
        speed = InspectionService(database).ask("dtype_speed", _HOST, processor_identity(), {}, seconds=seconds)
    except InspectionFailed as error:
        logger.info("The speed of this processor's dtypes is not known: %s", error.message)
        return None
    speedup = speed["bfloat16_seconds"] / speed["float32_seconds"]
    return FastDtype(dtype=FAST, prefill_speedup=round(speedup, 1)) if speedup >= LEAST_SPEEDUP else None


@lru_cache
def processor_identity() -> str:
    """Return what tells this host's processor from others, and from itself with some of its abilities switched off."""
    about = [socket.gethostname(), platform.machine(), platform.processor(), _flags()]
    about += [f"{name}={os.environ.get(name, '')}" for name in _RELEVANT]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def _flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return ""
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
