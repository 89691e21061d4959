"""What this machine has, as far as it can be known without torch."""

import os
import socket
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from modelyard.core import container
from modelyard.core.database import Database, utc_now
from modelyard.core.errors import HubUnreachable
from modelyard.hub.client import HubClient
from modelyard.models import Worker
from modelyard.services import system_service
from modelyard.services.settings_service import SettingsService


def cgroup(folder: Path, maximum: str, current: int, inactive_file: int) -> Path:
    (folder / "memory.max").write_text(f"{maximum}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive_file}\nslab 1\n")
    return folder


def test_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "memory_limit", lambda: None)
    cpu = system_service.devices([os.getpid(), 2**22 + 1])[-1]
    assert cpu.id == "cpu"
    assert cpu.total_bytes == psutil.virtual_memory().total
    assert 0 < cpu.free_bytes <= cpu.total_bytes
    assert 0 < cpu.used_by_us_bytes < cpu.total_bytes


def test_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert container.memory_limit(tmp_path) is None
    assert container.memory_limit(cgroup(tmp_path, "max", 10, 0)) is None
    assert container.memory_limit(cgroup(tmp_path, "100", 600, 0)) == container.MemoryLimit(100, 0)
    limit = container.memory_limit(cgroup(tmp_path, "1000000000", 600_000_000, 100_000_000))
    assert limit == container.MemoryLimit(1_000_000_000, 500_000_000)
    monkeypatch.setattr(container, "memory_limit", lambda: limit)
    cpu = system_service.devices([])[-1]
    assert (cpu.total_bytes, cpu.free_bytes) == (1_000_000_000, 500_000_000)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver with two GPUs; this machine may have none."""
    memory = {0: SimpleNamespace(total=80, free=70), 1: SimpleNamespace(total=24, free=20)}

    def running(handle: int) -> list[Any]:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [SimpleNamespace(pid=11, usedGpuMemory=7), SimpleNamespace(pid=12, usedGpuMemory=None)]

    def by_index(index: int) -> int:
        if index not in memory:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    for name, stand_in in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": by_index,
        "nvmlDeviceGetHandleByUUID": lambda uuid: by_index({"GPU-b": 1}.get(uuid, 9)),
        "nvmlDeviceGetMemoryInfo": memory.__getitem__,
        "nvmlDeviceGetComputeRunningProcesses": running,
        "nvmlDeviceGetName": lambda handle: [b"Big", "Small"][handle],
    }.items():
        monkeypatch.setattr(pynvml, name, stand_in)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["Big", "Small"]),
        ("0,1", ["Big", "Small"]),
        ("1", ["Small"]),
        ("1,0", ["Small", "Big"]),
        ("GPU-b", ["Small"]),
        ("0,7,1", ["Big"]),
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_are_numbered_as_cuda_numbers_them(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = system_service.devices([11, 12])[:-1]
    assert [gpu.name for gpu in gpus] == names
    assert [gpu.id for gpu in gpus] == [f"cuda:{index}" for index in range(len(names))]
    assert all(gpu.used_by_us_bytes == (7 if gpu.name == "Big" else 0) for gpu in gpus)


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert [device.id for device in system_service.devices([])] == ["cpu"]


def test_libraries_are_told_without_importing_them() -> None:
    versions = system_service.libraries()
    assert versions["python"]
    assert versions["transformers"]
    assert "torch" in versions


def test_workers_that_were_seen_lately_are_alive(database: Database) -> None:
    here = socket.gethostname()
    with database.session() as session:
        for name, host, pid, ago in (("a", here, 101, 1), ("b", here, 102, 600), ("c", "elsewhere", 103, 1)):
            seen = utc_now() - timedelta(seconds=ago)
            session.add(Worker(name=name, host=host, pid=pid, queues="compute,downloads", seen_at=seen))
    with database.reading() as session:
        told = {worker.name: worker for worker in system_service.workers(session)}
        pids = system_service.local_pids(session)
    assert {name: worker.alive for name, worker in told.items()} == {"a": True, "b": False, "c": True}
    assert told["a"].queues == ["compute", "downloads"]
    assert set(pids) == {os.getpid(), 101}


def test_a_hub_that_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_self: HubClient, _seconds: float) -> None:
        raise HubUnreachable("It is away.")

    monkeypatch.setattr(HubClient, "check", away)
    with database.reading() as session:
        settings = SettingsService(session)
        status = system_service.hub_status(settings.hub_client(), settings.endpoint_source())
    assert (status.reachable, status.reason, status.token, status.user) == (False, "It is away.", "unknown", None)
