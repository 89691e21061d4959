"""What this machine has: devices and their memory, disks, libraries, workers, the Hub in use."""

import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pynvml
from huggingface_hub import constants
from sqlalchemy import select
from sqlalchemy.orm import Session

import modelyard
from modelyard.core import container
from modelyard.core.database import Database, database_now
from modelyard.core.errors import HubError, TokenInvalid
from modelyard.core.extras import NEEDED_FOR, Extra, has, install_command, installed_version
from modelyard.core.process_memory import proportional_bytes
from modelyard.core.queues import Queue
from modelyard.core.settings import get_settings
from modelyard.core.warm_state import warm_state
from modelyard.hub.client import HubClient, TokenState
from modelyard.models import Worker
from modelyard.schemas.system import (
    Device,
    Disk,
    Extras,
    HubAnswer,
    HubStatus,
    MissingExtra,
    StoragePlace,
    System,
    WorkerStatus,
)
from modelyard.services.jobs.able_workers import can_do
from modelyard.services.model_files import ModelFiles
from modelyard.services.settings_service import EndpointSource, SettingsService

HUB_CHECK_SECONDS = 3.0
HUB_STATUS_SECONDS = 15.0
"""The Hub is asked at most this often, however many pages want to know whether it answers."""

_LIBRARIES = ("torch", "transformers", "accelerate", "bitsandbytes", "safetensors", "huggingface_hub", "sae-lens")


def devices(our_pids: list[int]) -> list[Device]:
    """Return every GPU and the machine's memory; bytes, measured now."""
    return [*_gpus(our_pids), _cpu(our_pids)]


def disks(stored_bytes: int) -> list[Disk]:
    """Return the file systems that hold models and this instance's own data."""
    found: dict[int, Disk] = {}
    for path, purpose in ((Path(constants.HF_HUB_CACHE), "models"), (get_settings().home, "quantized models and data")):
        existing = _nearest_existing(path)
        device = existing.stat().st_dev
        place = StoragePlace(path=str(path), purpose=purpose)
        if device in found:
            disk = found[device]
            update = {"purpose": f"{disk.purpose}, {purpose}", "places": [*disk.places, place]}
            found[device] = disk.model_copy(update=update)
            continue
        usage = shutil.disk_usage(existing)
        found[device] = Disk(
            path=str(path),
            total_bytes=usage.total,
            free_bytes=usage.free,
            used_by_us_bytes=stored_bytes if purpose == "models" else 0,
            purpose=purpose,
            places=[place],
        )
    return list(found.values())


def libraries() -> dict[str, str | None]:
    """Return the versions of what does the work, read from package metadata; nothing is imported."""
    return {"python": platform.python_version()} | {name: installed_version(name) for name in _LIBRARIES}


def hub_answer(client: HubClient) -> HubAnswer:
    """Return whether a Hub answers, and whose token it is; takes up to a few seconds when it does not."""

    def answer(token: TokenState, *, user: str | None = None, reason: str | None = None) -> HubAnswer:
        return HubAnswer(
            endpoint=client.endpoint,
            reachable=reason is None,
            reason=reason,
            user=user,
            token=token,
            token_note=client.missing_token_note(),
        )

    try:
        client.check(HUB_CHECK_SECONDS)
    except TokenInvalid:  # a Hub refuses everything that comes with such a token, but it answers
        return answer("invalid")
    except HubError as error:
        return answer("unknown", reason=error.message)
    token, user = client.user()
    return answer(token, user=user)


def hub_status(client: HubClient, source: EndpointSource) -> HubStatus:
    """`hub_answer` for the Hub in use, and who chose it."""
    return HubStatus(**hub_answer(client).model_dump(), endpoint_source=source)


class HubWatch:
    """Remembers the last answer; the first caller after it went stale waits for a new one, others get the old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, HubStatus]] = {}

    def status(self, database: Database) -> HubStatus:
        """Blocks one caller, for some seconds at most, when a new answer is due."""
        with database.reading() as session:
            settings = SettingsService(session)
            client, source = settings.hub_client(), settings.endpoint_source()
        known = self._known.get(client.endpoint)
        if known is not None and time.monotonic() - known[0] < HUB_STATUS_SECONDS:
            return known[1]
        if not self._lock.acquire(blocking=False):
            # All threads would wait for a Hub that stalls.
            return known[1] if known is not None else _being_asked(client, source)
        try:
            status = hub_status(client, source)
            self._known[client.endpoint] = (time.monotonic(), status)
        finally:
            self._lock.release()
        return status

    def forget(self) -> None:
        """Ask anew the next time, because the endpoint or the token changed."""
        self._known.clear()


def _being_asked(client: HubClient, source: EndpointSource) -> HubStatus:
    return HubStatus(
        endpoint=client.endpoint,
        endpoint_source=source,
        reachable=False,
        reason="It is being asked for the first time and has not answered yet.",
        user=None,
        token="unknown",  # noqa: S106 - the token's state
        token_note=client.missing_token_note(),
    )


def workers(session: Session) -> list[WorkerStatus]:
    now = database_now(session)
    return [
        WorkerStatus(
            name=worker.name,
            host=worker.host,
            pid=worker.pid,
            queues=worker.queues.split(","),
            alive=worker.is_alive(now),
            started_at=worker.started_at,
            seen_at=worker.seen_at,
        )
        for worker in session.scalars(select(Worker).order_by(Worker.name))
    ]


def local_pids(session: Session) -> list[int]:
    """Process ids of this server and of the live workers on this machine."""
    here = socket.gethostname()
    return [os.getpid(), *(worker.pid for worker in workers(session) if worker.alive and worker.host == here)]


def system(session: Session, hub: Callable[[], HubStatus]) -> System:
    """Everything `GET /system` tells."""
    seen, warm = workers(session), warm_state()
    return System(
        version=modelyard.__version__,
        devices=devices(sorted({*local_pids(session), *warm.pids})),
        disks=disks(ModelFiles(session).stored_bytes()),
        hub=hub(),
        extras=_extras(session),
        missing=_missing(),
        libraries=libraries(),
        workers=seen,
        warm=warm.warm,
        needs_key=get_settings().api_key is not None,
        uptime_seconds=time.time() - psutil.Process().create_time(),
    )


def _extras(session: Session) -> Extras:
    sae = has(Extra.SAE)
    return Extras(
        torch=can_do(session, Queue.INFERENCE), sae=sae, sae_install=None if sae else install_command(Extra.SAE)
    )


def _missing() -> list[MissingExtra]:
    return [
        MissingExtra(extra=extra, needed_for=NEEDED_FOR[extra], install=install_command(extra))
        for extra in Extra
        if not has(extra)
    ]


def _cpu(our_pids: list[int]) -> Device:
    memory = psutil.virtual_memory()
    limit = container.memory_limit()
    name = platform.processor() or platform.machine()
    return Device(
        id="cpu",
        name=f"Memory of {socket.gethostname()} ({name}, {os.cpu_count()} cores)",
        total_bytes=min(memory.total, limit.total_bytes) if limit else memory.total,
        free_bytes=min(memory.available, limit.free_bytes) if limit else memory.available,
        used_by_us_bytes=sum(map(proportional_bytes, our_pids)),
    )


def _gpus(our_pids: list[int]) -> list[Device]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no NVIDIA driver on this machine
    try:
        return [_gpu(index, handle, our_pids) for index, handle in enumerate(_visible_gpus())]
    finally:
        pynvml.nvmlShutdown()


def _visible_gpus() -> list[Any]:
    """Handles in the order in which torch counts them (with CUDA_DEVICE_ORDER=PCI_BUS_ID)."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    handles = []
    for name in listed.split(","):
        try:
            by_index = name.strip().isdigit()
            handles.append(
                pynvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(name)
            )
        except pynvml.NVMLError:
            break  # CUDA ignores everything from the first unknown name on
    return handles


def _gpu(index: int, handle: Any, our_pids: list[int]) -> Device:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        processes = []  # not told on some drivers, and in some containers
    name = pynvml.nvmlDeviceGetName(handle)
    return Device(
        id=f"cuda:{index}",
        name=name if isinstance(name, str) else name.decode(),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        used_by_us_bytes=sum(int(p.usedGpuMemory or 0) for p in processes if p.pid in our_pids),
    )


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
