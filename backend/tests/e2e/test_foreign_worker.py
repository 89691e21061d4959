"""A worker that does not see its API's folders is refused; real processes with folders of their own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import programs
from support.instance import Instance
from support.postgres import running_postgres
from support.redis_server import running_redis

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("foreign")
    with running_postgres() as database, running_redis(folder) as broker:
        environment = {"MODELYARD_DATABASE_URL": database, "MODELYARD_BROKER_URL": broker}
        instance = Instance(folder / "api", environment, arguments=("--no-workers",)).start()
        yield instance
        instance.stop()


def _start(instance: Instance, queues: str, **environment: str) -> "subprocess.Popen[str]":
    return programs.Popen(
        [sys.executable, "-m", "modelyard", "worker", "--queues", queues],
        env={**instance.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _refused(instance: Instance, queues: str, **environment: str) -> str:
    worker = _start(instance, queues, **environment)
    try:
        said = worker.communicate(timeout=60)[1]
    finally:
        worker.kill()
    assert worker.returncode == 1, said
    assert instance.api.get("/system").json()["workers"] == []
    return said


def _accepted(instance: Instance, queues: str, **environment: str) -> None:
    worker = _start(instance, queues, **environment)
    try:
        instance.wait_until(lambda: instance.api.get("/system").json()["workers"], 60, "the worker is there")
        assert worker.poll() is None
    finally:
        worker.terminate()
        worker.wait(30)


def test_a_worker_with_a_cache_of_its_own_takes_no_job(apart: Instance, tmp_path: Path) -> None:
    apart.use_builtin_hub()
    row = apart.download("modelyard-samples/tiny-gpt2")
    said = _refused(apart, "downloads", HF_HOME=str(tmp_path / "hf"))
    for told in (str(apart.hf_home / "hub"), str(tmp_path / "hf" / "hub"), "HF_HUB_CACHE"):
        assert told in said
    (tmp_path / "other" / "hub" / ".locks").mkdir(parents=True)
    (tmp_path / "other" / "hub" / ".locks" / "modelyard-id").write_text("of another API")
    _refused(apart, "downloads", HF_HOME=str(tmp_path / "other"))
    assert apart.model(row["id"])["status"] == "pending"


def test_a_worker_with_a_home_of_its_own_only_downloads(apart: Instance, tmp_path: Path) -> None:
    said = _refused(apart, "compute,inference", MODELYARD_HOME=str(tmp_path / "home"))
    for told in (str(apart.home), str(tmp_path / "home"), "MODELYARD_HOME"):
        assert told in said
    _accepted(apart, "downloads", MODELYARD_HOME=str(tmp_path / "home"))


def test_the_same_folders_under_another_name_are_fine(apart: Instance, tmp_path: Path) -> None:
    """As with a network disk that is mounted elsewhere."""
    (tmp_path / "hf").symlink_to(apart.hf_home)
    (tmp_path / "home").symlink_to(apart.home)
    (apart.hf_home / "hub" / "models--left--alone").mkdir(parents=True, exist_ok=True)
    _accepted(apart, "compute", HF_HOME=str(tmp_path / "hf"), MODELYARD_HOME=str(tmp_path / "home"))
