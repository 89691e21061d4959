"""A server with a warm parent of its own, started exactly as users start it: work survives the warm parent's death."""

import fcntl
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2e import test_training as training
from modelyard.core.start_process import can_fork
from support.instance import Instance, _pipes, running, standing_still

pytestmark = pytest.mark.skipif(not can_fork(), reason="there is no warm parent on this system")
WARM, QUANTIZE = "modelyard.workers.processes.warm_parent", "modelyard.workers.processes.quantize_child"
WORKER_PARENT = "modelyard.workers.processes.worker_parent"
TRAIN, INSPECT = "modelyard.workers.processes.train_child", "modelyard.ml.inspect.inspector_child"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    environment = {"MODELYARD_LEASE_SECONDS": "4"}
    instance = Instance(tmp_path_factory.mktemp("warm"), environment, as_users_do=True).start()
    instance.use_builtin_hub()
    yield instance
    instance.stop()


@pytest.fixture
def warm(instance: Instance) -> psutil.Process:
    """The warm parent, which has imported everything."""
    instance.wait_until(lambda: system(instance)["warm"], 120, "the libraries are imported")
    return warm_parent(instance)


def warm_parent(instance: Instance) -> psutil.Process:
    return parent(instance, WARM)


def worker_parent(instance: Instance) -> psutil.Process:
    return parent(instance, WORKER_PARENT)


def parent(instance: Instance, module: str) -> psutil.Process:
    """The process that runs a module for this server's supervisor, whoever has forked it."""

    def found() -> psutil.Process | None:
        assert instance.process is not None
        parent_pipe = set(_pipes(instance.process.pid))
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):  # it ends just now, or is another user's
                if module in process.cmdline() and parent_pipe.intersection(_pipes(process.pid)):
                    return process
        return None

    return instance.wait_until(found, 60, f"{module} runs")


def inference_worker(instance: Instance) -> psutil.Process:
    return instance.wait_until(lambda: instance.children().get("inference"), 60, "the worker runs")


def load(instance: Instance, row: dict[str, Any]) -> None:
    assert instance.api.post(f"/models/{row['id']}/load", json={}).status_code == 202
    instance.wait_until(lambda: instance.model(row["id"])["loaded"], 120, "it is loaded")


def taken(instance: Instance, row: dict[str, Any]) -> bool:
    """Whether a worker is at the load of a model."""
    progress = instance.model(row["id"])["progress"]
    return progress is not None and progress["phase"] == "loading" and not progress["waiting"]


@contextmanager
def held_closed(path: Path, instance: Instance) -> Iterator[None]:
    """Whoever opens a file waits for as long as this lasts (at most 45 s, by the system's default)."""

    def taken_alone() -> bool:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:  # somebody has it open
            return False
        return True

    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # tells that somebody waits
    try:
        with path.open("r+b") as file:
            instance.wait_until(taken_alone, 20, "nobody else has the file open")
            yield
    finally:
        signal.signal(signal.SIGIO, before)


@pytest.fixture(scope="module")
def llama(instance: Instance) -> dict[str, Any]:
    return instance.wait_for(instance.download("modelyard-samples/tiny-llama")["id"], "ready", seconds=120)


def system(instance: Instance) -> dict[str, Any]:
    answer: dict[str, Any] = instance.api.get("/system").json()
    return answer


def child_of(warm: psutil.Process, module: str, instance: Instance) -> psutil.Process:
    """The process that runs a module, which must have been forked."""
    child: psutil.Process = instance.wait_until(lambda: running(module), 60, f"{module} runs")
    assert child.ppid() == warm.pid
    return child


def kill_during(child: psutil.Process, warm: psutil.Process) -> None:
    """Kill the warm parent at a moment at which the child surely has work left."""
    child.suspend()
    try:
        assert child.is_running()
        warm.kill()
        psutil.wait_procs([warm], timeout=20)
    finally:
        child.resume()


def test_the_inspector_is_forked_and_the_memory_of_all_is_counted_once(
    instance: Instance, warm: psutil.Process, llama: dict[str, Any]
) -> None:
    """Before the warm parent is killed, which these processes would survive."""
    assert instance.api.get(f"/models/{llama['id']}/estimate-memory").json()["method"] == "exact"
    inspector = child_of(warm, INSPECT, instance)
    told = next(device for device in system(instance)["devices"] if device["id"] == "cpu")["used_by_us_bytes"]
    processes = [*instance.children().values(), warm, inspector]
    assert 0 < told < sum(process.memory_info().rss for process in processes)
    assert told > proportional(warm) + proportional(inspector)


def test_a_first_load_needs_no_import(instance: Instance, warm: psutil.Process, llama: dict[str, Any]) -> None:
    worker = inference_worker(instance)
    assert worker.ppid() == warm.pid
    load(instance, llama)
    assert worker == inference_worker(instance)


def proportional(process: psutil.Process) -> int:
    return int(Path(f"/proc/{process.pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0]) * 1024


@pytest.mark.thorough
def test_a_quantization_outlives_the_warm_parent(
    instance: Instance, warm: psutil.Process, llama: dict[str, Any]
) -> None:
    row = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "4bit"}).json()
    kill_during(child_of(warm, QUANTIZE, instance), warm)
    ready = instance.wait_for(row["id"], "ready", seconds=120)
    assert ready["error"] is None
    log = (instance.home / "logs" / "compute.log").read_text()
    assert "Traceback" not in log, log[-3000:]


@pytest.mark.thorough
def test_a_load_outlives_the_warm_parent(instance: Instance, warm: psutil.Process, llama: dict[str, Any]) -> None:
    instance.unload_all()
    worker = inference_worker(instance)
    (weights,) = Path(llama["snapshot_path"]).glob("*.safetensors")
    with ExitStack() as held:
        with standing_still(worker):
            assert instance.api.post(f"/models/{llama['id']}/load", json={}).status_code == 202
            held.enter_context(held_closed(weights, instance))
        instance.wait_until(lambda: taken(instance, llama), 60, "the load has begun")
        warm.kill()
        psutil.wait_procs([warm], timeout=20)
        assert taken(instance, llama)
    instance.wait_until(lambda: instance.model(llama["id"])["loaded"], 120, "it is loaded")
    assert worker == inference_worker(instance), "the same process, which goes on"


def test_a_load_that_comes_before_it_is_warm_says_what_it_waits_for(
    instance: Instance, warm: psutil.Process, llama: dict[str, Any]
) -> None:
    """The supervisor stands still, so that nothing is started again until it was seen."""
    instance.unload_all()
    assert instance.process is not None
    supervisor = psutil.Process(instance.process.pid)
    supervisor.suspend()
    try:
        for process in (inference_worker(instance), warm):
            process.kill()
        instance.wait_until(lambda: not system(instance)["warm"], 30, "the API knows")
        asked = instance.api.post(f"/models/{llama['id']}/load", json={}).json()["progress"]
        assert (asked["message"], asked["waiting"]) == ("importing libraries", True)
        assert asked["step"] == {"name": "starting", "done": None, "total": None}
    finally:
        supervisor.resume()
    load(instance, llama)
    assert inference_worker(instance).ppid() == warm_parent(instance).pid, "nobody else has imported anything"


@pytest.mark.thorough
def test_the_next_one_serves_whoever_asks_before_it_is_warm(instance: Instance, llama: dict[str, Any]) -> None:
    """After the one that the test before this killed, or at the start."""
    row = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "8bit"}).json()
    instance.wait_for(row["id"], "ready", seconds=120)
    assert system(instance)["warm"], "nobody else has imported anything"


@pytest.mark.sae
def test_a_training_run_outlives_the_warm_parent(instance: Instance, warm: psutil.Process, tmp_path: Path) -> None:
    gpt2 = instance.wait_for(instance.download(training.GPT2)["id"], "ready", seconds=120)
    text = tmp_path / "lines.jsonl"
    text.write_text("".join(f'{{"body": "line {number} of a text about nothing"}}\n' for number in range(3000)))
    with text.open("rb") as file:
        path = instance.api.post("/datasets", files={"file": (text.name, file)}).json()["path"]
    run = training.start(instance, gpt2, {"path": path, "column": "body"}, hook_point="transformer.h.1")
    kill_during(child_of(warm, TRAIN, instance), warm)
    assert training.wait(instance, run, "completed")["error"] is None


@pytest.mark.thorough
def test_nobody_notices_that_the_worker_parent_died(instance: Instance, warm: psutil.Process) -> None:
    """The last one here: what it has forked is nobody's child in the end, and not found by the others."""
    forks = worker_parent(instance)
    workers = {queue: instance.children()[queue] for queue in ("downloads", "compute")}
    assert {process.ppid() for process in (warm, *workers.values())} == {forks.pid}
    forks.kill()
    psutil.wait_procs([forks], timeout=20)
    instance.wait_for(instance.download("modelyard-samples/tiny-qwen-moe")["id"], "ready", seconds=120)
    assert {queue: instance.children()[queue] for queue in workers} == workers
    assert warm == warm_parent(instance)
    instance.wait_until(lambda: "workers was killed by SIGKILL" in instance.console(), 60, "it is noticed")
    workers["downloads"].kill()
    again = instance.wait_until(
        lambda: (found := instance.children().get("downloads")) != workers["downloads"] and found, 120, "the next one"
    )
    assert again.ppid() == worker_parent(instance).pid != forks.pid
