"""The kernel kills a worker for want of memory: what it was at ends with the reason, and the next worker is well.

A memory cgroup around the worker alone stands in for a full machine. It needs root and a cgroup that can be written.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ml import zoo
from support.instance import Instance

pytestmark = pytest.mark.thorough

HEADROOM_BYTES = 60_000_000
CGROUPS = Path("/sys/fs/cgroup")
CHAT = {"prompt": "Hello", "max_new_tokens": 4}


@contextmanager
def little_memory(process: psutil.Process) -> Iterator[None]:
    """The process and what it starts from now on may take little more than it holds. Skips where that cannot be had."""
    first = CGROUPS / "memory" if (CGROUPS / "memory").is_dir() else CGROUPS
    limit = "memory.limit_in_bytes" if first.name == "memory" else "memory.max"
    group = first / f"modelyard-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        try:
            (group / "cgroup.procs").write_text(str(process.pid))
            (group / limit).write_text(str(HEADROOM_BYTES))  # what it holds already is not counted here
        except OSError as error:
            pytest.skip(f"memory cgroups cannot be used here: {error}")
        yield
    finally:
        (first / "cgroup.procs").write_text(str(process.pid)) if process.is_running() else None
        _remove(group, first)


def _remove(group: Path, parent: Path) -> None:
    end = time.monotonic() + 10
    while True:
        for pid in (group / "cgroup.procs").read_text().split():
            (parent / "cgroup.procs").write_text(pid)
        try:
            group.rmdir()
        except OSError:
            assert time.monotonic() < end, f"{group} stays"
            time.sleep(0.1)
        else:
            return


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("oom")).start()
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def large(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("large")
    zoo.make_large(folder)
    answer = instance.api.post("/models/import", json={"path": str(folder), "model_id": "local/large"})
    assert answer.status_code == 202, answer.text
    return instance.wait_for(answer.json()["id"], "ready", seconds=120)


def load(instance: Instance, row_id: str) -> None:
    instance.wait_until(lambda: "inference" in instance.children(), 30, "the worker runs")
    assert instance.api.post(f"/models/{row_id}/load", json={"dtype": "float32"}).status_code == 202


def test_what_a_worker_that_ran_out_of_memory_was_at_is_not_given_to_the_next(
    instance: Instance, large: dict[str, Any]
) -> None:
    row_id = large["id"]
    worker = instance.wait_until(lambda: instance.children().get("inference"), 60, "the worker runs")
    _wait_until_idle(instance, row_id)
    with little_memory(worker):
        load(instance, row_id)
        instance.wait_until(lambda: not worker.is_running(), 60, "the kernel kills it")
    error = instance.wait_until(lambda: instance.model(row_id)["error"], 60, "the load ends")
    assert (error["code"], error["during"]) == ("out_of_memory", "load"), error
    assert "local/large" in error["message"]
    assert not instance.model(row_id)["loaded"]

    load(instance, row_id)
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "with memory, it loads as ever")
    assert instance.model(row_id)["error"] is None
    instance.unload_all()


def test_a_worker_that_was_killed_by_hand_is_followed_by_one_that_does_its_work(
    instance: Instance, large: dict[str, Any]
) -> None:
    row_id = large["id"]
    _wait_until_idle(instance, row_id)
    worker = instance.children()["inference"]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(instance.api.post, f"/models/{row_id}/load", json={"dtype": "float32"})
        assert answer.result().status_code == 202
        instance.wait_until(lambda: (instance.model(row_id)["progress"] or {}).get("phase"), 30, "it loads")
        worker.kill()
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "the next worker loads it")
    assert instance.model(row_id)["error"] is None


def _wait_until_idle(instance: Instance, row_id: str) -> None:
    """A worker of these queues says that it lives, and has imported what it needs."""
    load(instance, row_id)
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "it is loaded")
    instance.unload_all()
