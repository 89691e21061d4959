"""The same parts apart: Postgres, Redis, a server without workers, and workers of their own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.core.start_process import can_fork
from support import programs
from support.instance import Instance
from support.postgres import running_postgres
from support.redis_server import running_redis
from support.warm import WarmParent, without_channel

pytestmark = pytest.mark.thorough

SAMPLES = [f"modelyard-samples/{name}" for name in ("tiny-llama", "tiny-gpt2", "tiny-qwen-moe")]


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Instance]:
    with running_postgres() as database, running_redis(tmp_path) as broker:
        environment = {
            "MODELYARD_DATABASE_URL": database,
            "MODELYARD_BROKER_URL": broker,
            "MODELYARD_LEASE_SECONDS": "4",
        }
        instance = Instance(tmp_path / "apart", environment, arguments=("--no-workers",)).start()
        yield instance
        instance.stop()


def _worker(instance: Instance, queues: str) -> "subprocess.Popen[bytes]":
    with (instance.folder / "worker.log").open("ab") as log:
        return programs.Popen(
            [sys.executable, "-m", "modelyard", "worker", "--queues", queues],
            env=instance.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def test_each_model_is_used_and_unloaded_where_it_is(apart: Instance) -> None:
    """Two inference workers, as with a GPU each: every request goes to the one that holds the model."""
    apart.use_builtin_hub()
    workers = [_worker(apart, queues) for queues in ("downloads", "inference", "inference")]
    try:
        rows = [apart.wait_for(apart.download(sample)["id"], "ready") for sample in SAMPLES[:2]]

        def loaded() -> list[str]:
            return [item["id"] for item in apart.api.get("/models/loaded").json()["items"]]

        def both_wait() -> bool:
            seen = apart.api.get("/system").json()["workers"]
            return sum(worker["alive"] and worker["queues"] == ["inference"] for worker in seen) == 2

        apart.wait_until(both_wait, 60, "both inference workers are there")
        for _round in range(3):
            for row in rows:
                asked = apart.api.post(f"/models/{row['id']}/load", json={})
                assert asked.status_code == 202, f"{asked.text}\n{apart.console()}"
            apart.wait_until(lambda: sorted(loaded()) == sorted(row["id"] for row in rows), 60, "both are loaded")
            for row in rows * 2:
                body = {"prompt": "The", "max_new_tokens": 2, "stream": False}
                answer = apart.api.post(f"/models/{row['id']}/generate", json=body)
                assert (answer.status_code, answer.json()["load_seconds"]) == (200, 0.0), answer.text
            assert sorted(loaded()) == sorted(row["id"] for row in rows)  # no second copy
            apart.unload_all()
            assert {apart.model(row["id"])["error"] and "error" for row in rows} == {None}
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(30)


def test_workers_of_their_own_share_the_work_and_take_over(apart: Instance) -> None:
    apart.use_builtin_hub()
    apart.api.put("/settings", json={"bandwidth_limit_bytes_per_second": 5_000_000})
    rows = [apart.download(sample) for sample in SAMPLES]
    assert {apart.model(row["id"])["status"] for row in rows} == {"pending"}

    workers = [_worker(apart, "downloads") for _ in range(2)]
    try:

        def all_started() -> bool:
            return all((apart.model(row["id"])["downloaded_bytes"] or 0) > 0 for row in rows)

        apart.wait_until(all_started, 60, "all three run")
        names = {worker["name"] for worker in apart.api.get("/system").json()["workers"] if worker["alive"]}
        assert len(names) == 2
        workers[0].kill()
        apart.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
        for row in rows:
            ready = apart.wait_for(row["id"], "ready", seconds=60)
            assert ready["created_at"].endswith("Z")
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(30)
    assert apart.api.get("/models", params={"q": "LLAMA", "status": "ready"}).json()["total"] == 1
    for row in rows:
        assert apart.api.delete(f"/models/{row['id']}").status_code == 200
    assert not list((apart.hf_home / "hub").glob("models--*"))


def test_servers_of_one_home_use_their_own_addresses(tmp_path: Path) -> None:
    """The one that was started last is stopped; the others and their workers never ask it."""
    with running_postgres() as database, running_redis(tmp_path) as broker:
        where = {"MODELYARD_DATABASE_URL": database, "MODELYARD_BROKER_URL": broker}
        first, second = Instance(tmp_path / "shared", where), Instance(tmp_path / "shared", where)
        first.start()
        try:
            first.use_builtin_hub()
            second.start()
            assert second.api.get("/settings").json()["endpoint"] == f"{second.url}/hub"
            second.stop()
            assert first.api.get("/settings").json()["endpoint"] == f"{first.url}/hub"
            first.wait_for(first.download(SAMPLES[1])["id"], "ready", seconds=60)
        finally:
            first.stop()


@contextmanager
def impatient_worker(
    instance: Instance, queues: str, forking: WarmParent | None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker that begins anew whenever it holds no model; it is forked where there is a warm parent for it."""
    program = (
        "import sys\n"
        "from modelyard.core.settings import Settings\n"
        "from modelyard.workers.processes.supervisor import Supervisor\n"
        "sys.exit(Supervisor(Settings(), celery='impatient_worker:celery_app').run_worker(sys.argv[1].split(',')))"
    )
    variables = {} if forking is None else {"MODELYARD_WARM": "1", **forking.environment}
    with (instance.folder / "impatient.log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", program, queues],
            env=instance.environment | {"PYTHONPATH": str(Path(__file__).parent)} | variables,
            pass_fds=() if forking is None else (forking.descriptor,),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait(30)


@contextmanager
def warm_parent_of_its_own() -> Iterator[WarmParent]:
    """One that may fork the impatient worker, because it finds that where the other finds it."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack, without_channel():
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        parent = WarmParent(stack, "-m", "modelyard.workers.processes.warm_parent")
        parent.start()
        yield parent


def begins_anew(instance: Instance, row: dict[str, Any]) -> None:
    """Twice a model comes and goes, and the worker begins anew each time it has gone."""

    def started_at() -> str:
        return instance.wait_until(lambda: next(map(str, times()), ""), 120, "the worker is there")

    def times() -> Iterator[Any]:
        seen = instance.api.get("/system").json()["workers"]
        return (worker["started_at"] for worker in seen if "inference" in worker["queues"])

    for _round in range(2):
        before = started_at()
        made = instance.api.post(f"/models/{row['id']}/generate", json={"prompt": "A", "max_new_tokens": 1})
        assert made.status_code == 200, made.text
        time.sleep(3)  # a worker that holds a model stays
        assert started_at() == before
        instance.unload_all()
        instance.wait_until(lambda before=before: started_at() > before, 60, "the worker begins anew")


def test_a_worker_of_its_own_begins_anew_when_it_holds_too_much_for_nothing(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "anew", arguments=("--no-workers",)).start()
    instance.api.timeout = 180  # every round begins in a process that has not imported torch yet
    try:
        with impatient_worker(instance, "downloads,inference", None) as worker:
            instance.use_builtin_hub()
            begins_anew(instance, instance.wait_for(instance.download(SAMPLES[0])["id"], "ready"))
            assert worker.poll() is None
    finally:
        instance.stop()
    assert worker.returncode == 0


@pytest.mark.skipif(not can_fork(), reason="there is no warm parent on this system")
def test_a_forked_worker_begins_anew_when_it_holds_too_much_for_nothing(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "forked", arguments=("--no-workers",)).start()
    instance.api.timeout = 180
    downloads = _worker(instance, "downloads")
    try:
        instance.use_builtin_hub()
        row = instance.wait_for(instance.download(SAMPLES[0])["id"], "ready")
        with warm_parent_of_its_own() as parent, impatient_worker(instance, "inference", parent) as worker:
            begins_anew(instance, row)
            assert worker.poll() is None
            (forked,) = instance.wait_until(psutil.Process(parent.process.pid).children, 60, "the next one runs")
            assert "inference" in forked.cmdline()
            log = (instance.folder / "impatient.log").read_text()
            assert log.count("Nothing is loaded, but this process holds more than") == 2, log
    finally:
        downloads.terminate()
        downloads.wait(30)
        instance.stop()
    assert worker.returncode == 0
