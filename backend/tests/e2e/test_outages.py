"""Downloads, while the database and the queue stop, freeze and start again under them."""

import hashlib
import json
import random
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from hub.hub_faults import HubFaults, serve
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource, make_llama
from support.instance import Instance, children_of
from support.scaled import Client, Scaled, log_bytes, scaled, worker_of

SIZE = 6_000_000
REPOS = 120
CHAOS_SECONDS = 150
UNDER_WAY = 4
BYTES_PER_SECOND = 4_000_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubFaults, str, Path]]:
    folder = make_llama(tmp_path_factory.mktemp("repo") / "model", weight_bytes=SIZE)
    source = FolderSource(**{f"lab__model{number}": folder for number in range(REPOS)})
    faults = HubFaults(create_hub_app([source], api_key=None))
    with serve(faults) as endpoint:
        yield faults, endpoint, folder


@pytest.fixture
def parts(hub: tuple[HubFaults, str, Path], tmp_path: Path) -> Iterator[Scaled]:
    # The repositories have the same content, and each is to be fetched.
    environment = {"HF_ENDPOINT": hub[1], "MODELYARD_LEASE_SECONDS": "6", "HF_HUB_DISABLE_SHARED_BLOBS": "1"}
    with scaled(tmp_path, environment) as parts:
        limit = {"bandwidth_limit_bytes_per_second": BYTES_PER_SECOND, "parallel_downloads": 3}
        assert parts.instance.api.put("/settings", json=limit).status_code == 200
        yield parts


def patiently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not about something being away for a while."""
    end = time.monotonic() + 60
    while True:
        try:
            answer = ask()
            if answer.status_code not in (502, 503):
                return answer
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, "nothing answers"
        time.sleep(0.3)


def start(instance: Instance, number: int) -> str:
    body = {"model_id": f"lab/model{number}"}
    answer = patiently(lambda: instance.api.post("/models/download", json=body))
    assert answer.status_code in (202, 409), answer.text  # 409: it was accepted, and the answer got lost
    return str(answer.json()["id"])


def rows(instance: Instance) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = patiently(lambda: instance.api.get("/models", params={"limit": 200})).json()["items"]
    return items


def all_ready(instance: Instance, count: int) -> bool:
    found = rows(instance)
    assert {row["status"] for row in found} <= {"pending", "downloading", "ready"}, [row["error"] for row in found]
    return sum(row["status"] == "ready" for row in found) == count


def check_files(instance: Instance, folder: Path, count: int) -> None:
    wanted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    snapshots = list(instance.hf_home.glob("hub/models--lab--*/snapshots/*"))
    assert len(snapshots) == count
    for snapshot in snapshots:
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in snapshot.iterdir()}
        assert found == wanted, snapshot


def check_answers(client: Client) -> None:
    for path, answers in client.answers.items():
        assert set(answers) <= {200, 503, "away"}, (path, answers)


def logs(instance: Instance) -> list[str]:
    return [path.read_text() for path in instance.folder.rglob("*.log*") if path.is_file()]


def lines_about(instance: Instance, words: str) -> int:
    return sum(text.count(words) for text in logs(instance))


def tracebacks(instance: Instance) -> list[str]:
    """Each with the line before it, which says what failed."""
    return [found for text in logs(instance) for found in re.findall(r"(?:.*\n)?Traceback(?:.*\n){0,60}", text)]


@pytest.mark.thorough
def test_a_freeze_and_a_restart_under_downloads(parts: Scaled, hub: tuple[HubFaults, str, Path]) -> None:
    instance, count = parts.instance, 6
    client = Client(instance.url)
    with worker_of(instance, "downloads") as worker, client.asking():
        for number in range(count):
            start(instance, number)
        instance.wait_until(lambda: client.ready, 60, "the first is ready")
        (child,) = psutil.Process(worker.pid).children()

        with connect(f"ws{instance.url.removeprefix('http')}/api/v1/events") as socket:
            assert json.loads(socket.recv(10))["type"] == "snapshot"
            parts.postgres.freeze()
            time.sleep(6)
            parts.postgres.thaw()
            parts.postgres.stop()
            time.sleep(2)
            parts.postgres.start()
            parts.redis.freeze()
            time.sleep(4)
            parts.redis.kill()
            parts.redis.start()
            back = time.monotonic()
            instance.wait_until(lambda: any(at > back for at in client.ready.values()), 30, "another one is ready")
            seen = [json.loads(socket.recv(20)) for _ in range(3)]  # the socket stayed, and tells what happens
            assert all(event["epoch"] == seen[0]["epoch"] for event in seen)
        instance.wait_until(lambda: all_ready(instance, count), 90, "all are ready")
        assert psutil.Process(worker.pid).children() == [child], "the worker did not end"
    check_files(instance, hub[2], count)
    check_answers(client)
    assert client.answers["/readyz"][503] > 3
    assert client.answers["/healthz"].keys() == {200}
    assert client.slowest["/readyz"] < 6  # 2 s, on a machine that does nothing else
    assert tracebacks(instance) == []
    assert log_bytes(instance) < 100_000


@pytest.mark.thorough
def test_started_before_the_database(parts: Scaled) -> None:
    instance = parts.instance
    instance.stop()
    parts.postgres.stop()
    console = len(instance.console())
    instance.start()
    assert httpx.get(f"{instance.url}/readyz").status_code == 503
    refused = instance.api.get("/models")
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert refused.headers["Retry-After"] == "2"
    assert instance.console()[console:].count("The database does not answer") == 1
    with worker_of(instance, "downloads") as worker:
        log = instance.folder / "worker.log"
        instance.wait_until(lambda: "The database does not answer" in log.read_text(), 60, "the worker waits")
        parts.postgres.start()
        row = start(instance, 0)
        instance.wait_for(row, "ready", seconds=90)
        (seen,) = instance.api.get("/system").json()["workers"]
        assert seen["alive"]
        assert psutil.Process(worker.pid).children()[0].pid == seen["pid"]
        # Whatever becomes of its row, a worker that takes jobs is listed.
        parts.postgres.execute("DELETE FROM workers")
        instance.wait_until(lambda: instance.api.get("/system").json()["workers"], 30, "it is listed again")
    assert tracebacks(instance) == []


class Chaos:
    """Faults, each of which lasts a few seconds, in a random order."""

    def __init__(self, parts: Scaled, hub: HubFaults, worker: psutil.Process, chance: random.Random) -> None:
        self._parts, self._hub, self._worker, self._chance = parts, hub, worker, chance
        self.killed_workers = 0
        self.ended: list[tuple[str, float]] = []
        """What was over when."""

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        faults: list[Callable[[], None]] = []
        while time.monotonic() < end:
            if not faults:  # each once, then each once more, in another order
                faults = [
                    self.postgres_restarts,
                    self.postgres_crashes,
                    self.postgres_freezes,
                    self.redis_freezes,
                    self.redis_restarts,
                    self.redis_is_killed,
                    self.worker_is_killed,
                    self.api_is_killed,
                    self.hub_fails,
                ]
                self._chance.shuffle(faults)
            fault = faults.pop()
            fault()
            self.ended.append((fault.__name__, time.monotonic()))
            time.sleep(self._chance.uniform(5, 9))

    def _wait(self) -> None:
        time.sleep(self._chance.uniform(1, 6))

    def postgres_restarts(self) -> None:
        self._parts.postgres.stop()
        self._wait()
        self._parts.postgres.start()

    def postgres_crashes(self) -> None:
        self._parts.postgres.crash()
        self._wait()
        self._parts.postgres.start()

    def postgres_freezes(self) -> None:
        self._parts.postgres.freeze()
        self._wait()
        self._parts.postgres.thaw()

    def redis_freezes(self) -> None:
        self._parts.redis.freeze()
        self._wait()
        self._parts.redis.thaw()

    def redis_restarts(self) -> None:
        self._parts.redis.stop()
        self._wait()
        self._parts.redis.start()

    def redis_is_killed(self) -> None:
        self._parts.redis.kill()
        self._parts.redis.start()

    def worker_is_killed(self) -> None:
        for child in self._worker.children():
            child.kill()
            self.killed_workers += 1

    def api_is_killed(self) -> None:
        process = self._parts.instance.process
        assert process is not None
        children_of(process.pid)["api"].kill()

    def hub_fails(self) -> None:
        self._hub.fail("/resolve/", 503, times=10)
        self._hub.drop("/resolve/", after_bytes=100_000, times=4, reset=True)
        self._wait()
        self._hub.clear()


@pytest.mark.thorough
def test_chaos(parts: Scaled, hub: tuple[HubFaults, str, Path]) -> None:
    instance, faults = parts.instance, hub[0]
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown when the test fails
    client = Client(instance.url)
    with worker_of(instance, "downloads") as worker, client.asking():
        chaos = Chaos(parts, faults, psutil.Process(worker.pid), random.Random(seed))
        over = threading.Event()
        started: list[str] = []

        def keep_downloading() -> None:
            while not over.wait(0.2):
                if len(started) < REPOS and len(started) - len(client.ready) < UNDER_WAY:
                    started.append(start(instance, len(started)))

        customer = threading.Thread(target=keep_downloading)
        customer.start()
        instance.wait_until(lambda: client.ready, 60, "the first is ready")
        chaos.run(CHAOS_SECONDS)
        over.set()
        customer.join(70)
        assert not customer.is_alive()
        instance.wait_until(lambda: all_ready(instance, len(started)), 120, "all are ready")
        assert worker.poll() is None

    waits = [
        (fault, min(at for at in client.ready.values() if at > ended) - ended)
        for fault, ended in chaos.ended
        if any(at > ended for at in client.ready.values())
    ]
    median = statistics.median(seconds for _, seconds in waits)
    size = log_bytes(instance)
    print(f"{len(started)} models, {len(chaos.ended)} faults, {size:,} bytes of logs, median {median:.1f} s")
    print(*(f"{fault}: {seconds:.1f} s" for fault, seconds in waits), client.answers, client.slowest, sep="\n")
    check_files(instance, hub[2], len(started))
    check_answers(client)
    assert lines_about(instance, "it starts again in") == chaos.killed_workers + sum(
        fault == "api_is_killed" for fault, _ in chaos.ended
    )
    assert tracebacks(instance) == []
    assert log_bytes(instance) < 1_000_000
    assert median <= 10
