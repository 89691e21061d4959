"""Processors that compute faster in float32 than in the bfloat16 that most models are stored in: measured per host.

The API measures its own host, through the inspector, for estimates. A worker measures the host that it loads models on
when it has nothing to do, at the latest for the first load, and decides by that; what it found is remembered, so that
the API can tell it of other hosts.
"""

import hashlib
import logging
import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from modelyard.core.database import Database, database_now
from modelyard.core.errors import ModelyardError
from modelyard.models import Worker
from modelyard.schemas.memory import FastDtype
from modelyard.schemas.system import Device
from modelyard.services import system_service
from modelyard.services.inspection import inspection_service
from modelyard.services.inspection.inspection_service import WARM_UP_SECONDS, InspectionService, library_versions
from modelyard.services.jobs.payloads import LoadOptions, LoadPayload

logger = logging.getLogger(__name__)

SLOW, FAST = "bfloat16", "float32"
LEAST_SPEEDUP = 1.5
"""Below this nothing is gained that twice the memory would be worth."""
MEASURE_SECONDS = 10.0

_HOST = "host"
_RELEVANT = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that keep the libraries from using all of a processor."""


def fast_dtype(
    database: Database,
    stored: str | None,
    devices: Sequence[Device],
    *,
    queue: str = "inference",
    seconds: float = MEASURE_SECONDS,
) -> FastDtype | None:
    """Return the dtype in which every host that serves `queue` computes faster than in `stored`, and how much faster.

    None where one of them does not, or was never measured. With no live worker, this host counts; it is measured now,
    for which up to `seconds` are waited. A host with an accelerator computes there.
    """
    if stored != SLOW or any(device.id != "cpu" for device in devices):
        return None
    here = socket.gethostname()

    measure = partial(_ask_inspector, seconds)
    speedups = [
        _speedup_here(database, measure) if host == here else _remembered_speedup(database, host)
        for host in _hosts(database, queue) or {here}
    ]
    known = [speedup for speedup in speedups if speedup is not None]
    if len(known) < len(speedups) or min(known) < LEAST_SPEEDUP:
        return None
    return FastDtype(dtype=FAST, prefill_speedup=round(min(known), 1))


def measure_here(database: Database) -> None:
    """Measure this host in the inspector, unless that was done before or models are computed on an accelerator."""
    if all(device.id == "cpu" for device in system_service.devices([])):
        _speedup_here(database, _ask_own_inspector)


def options_here(database: Database, stored: str | None, wanted: LoadPayload) -> LoadOptions:
    """Return the options of a load as this host carries them out; for workers, as it imports torch.

    `wanted.faster` replaces some of them where this host is slow in the dtype `stored`.
    """
    faster = wanted.faster if _is_slow_here(database, stored, wanted) else None
    return LoadOptions(**dict(wanted) | dict(faster or ()))


def _is_slow_here(database: Database, stored: str | None, wanted: LoadOptions) -> bool:
    if stored != SLOW or wanted.dtype != "auto" or wanted.device not in ("auto", "cpu"):
        return False
    if wanted.device == "auto" and any(each.id != "cpu" for each in system_service.devices([])):
        return False
    speedup = _speedup_here(database, _measure)
    return speedup is not None and speedup >= LEAST_SPEEDUP


def remember_speed(database: Database, speed: Mapping[str, float], *, host: str | None = None) -> None:
    """Write down how many seconds a product takes on a host, by dtype; this one unless another is named."""
    answer = {**speed, "processor": processor_identity() if host is None else None}
    InspectionService(database).remember(_HOST, _key(host or socket.gethostname()), _question(), answer)


def _ask_inspector(seconds: float) -> Mapping[str, float]:
    return inspection_service.get_inspector().inspect("dtype_speed", {}, timeout=max(seconds, 0.1))


def _ask_own_inspector() -> Mapping[str, float]:
    """One that ends at once: its libraries take memory that models need."""
    from modelyard.ml.inspect.inspector import Inspector

    with closing(Inspector()) as inspector:
        return inspector.inspect("dtype_speed", {}, timeout=WARM_UP_SECONDS)


def _measure() -> Mapping[str, float]:
    from modelyard.ml.inspect.dtype_speed import measure_dtype_speed

    return asdict(measure_dtype_speed())


def _speedup_here(database: Database, measure: Callable[[], Mapping[str, float]]) -> float | None:
    """Measure unless this very processor was measured before; None where that fails, and it is tried again later."""
    known = InspectionService(database).recall(_HOST, _key(socket.gethostname()), _question())
    if known is None or known["processor"] != processor_identity():
        try:
            known = dict(measure())
        except ModelyardError as error:
            logger.info("The speed of this processor's dtypes is not known: %s", error.message)
            return None
        remember_speed(database, known)
    return _speedup(known)


def _remembered_speedup(database: Database, host: str) -> float | None:
    known = InspectionService(database).recall(_HOST, _key(host), _question())
    return None if known is None else _speedup(known)


def _speedup(speed: Mapping[str, Any]) -> float:
    return float(speed["bfloat16_seconds"] / speed["float32_seconds"])


def _hosts(database: Database, queue: str) -> set[str]:
    """Return the hosts of the live workers that serve a queue."""
    with database.reading() as session:
        now = database_now(session)
        workers = session.scalars(select(Worker).where(Worker.is_alive(now))).all()
    return {worker.host for worker in workers if queue in worker.queues.split(",")}


def _key(host: str) -> str:
    return hashlib.sha256(host.encode()).hexdigest()


def _question() -> str:
    return f"dtype_speed {library_versions()}"


@lru_cache
def processor_identity() -> str:
    """Return what tells this host's processor from others, and from itself with some of its abilities switched off."""
    about = [platform.machine(), platform.processor(), _flags()]
    about += [f"{name}={os.environ.get(name, '')}" for name in _RELEVANT]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def _flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return ""
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
