"""The parts apart, with a PostgreSQL and a Redis that tests may hurt, and somebody who watches what clients see."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from support import programs
from support.instance import Instance
from support.postgres import PostgresServer, postgres_server
from support.redis_server import RedisServer, redis_server


@dataclass(frozen=True)
class Scaled:
    """An API without workers, its database and its broker."""

    instance: Instance
    postgres: PostgresServer
    redis: RedisServer


@contextmanager
def scaled(folder: Path, environment: Mapping[str, str]) -> Iterator[Scaled]:
    """Yields a running server; workers are the test's to start."""
    with postgres_server(durable=True) as postgres, redis_server(folder) as redis:
        where = {"MODELYARD_DATABASE_URL": postgres.url, "MODELYARD_BROKER_URL": redis.url}
        instance = Instance(folder / "server", where | dict(environment), arguments=("--no-workers",))
        instance.start()
        try:
            yield Scaled(instance, postgres, redis)
        finally:
            postgres.thaw()
            redis.thaw()
            instance.stop()


@contextmanager
def worker_of(instance: Instance, queues: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A `modelyard worker` that writes to `worker.log` in the instance's folder."""
    with (instance.folder / "worker.log").open("ab") as log:
        process = programs.Popen(
            [sys.executable, "-m", "modelyard", "worker", "--queues", queues],
            env=instance.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Client:
    """Asks a server for the same things all the time, and notes what it is answered."""

    url: str
    paths: tuple[str, ...] = ("/api/v1/models?limit=200", "/readyz", "/healthz")
    answers: dict[str, Counter[int | str]] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    """When each model was first seen to be ready, by `time.monotonic`."""

    @contextmanager
    def asking(self) -> Iterator["Client"]:
        """For the length of a block, one thread for each path."""
        ended = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(path, ended)) for path in self.paths]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)

    def _ask(self, path: str, ended: threading.Event) -> None:
        answers = self.answers.setdefault(path, Counter())
        with httpx.Client(base_url=self.url, timeout=30) as http:
            while not ended.wait(0.1):
                begun = time.monotonic()
                try:
                    answer = http.get(path)
                except httpx.ReadTimeout:
                    answers["timeout"] += 1
                except httpx.TransportError:  # the API was killed, and is started again
                    answers["away"] += 1
                else:
                    answers[answer.status_code] += 1
                    self.slowest[path] = max(self.slowest.get(path, 0.0), time.monotonic() - begun)
                    if "models" in path and answer.status_code == 200:
                        self._note(answer.json()["items"])

    def _note(self, rows: list[dict[str, str]]) -> None:
        for row in rows:
            if row["status"] == "ready":
                self.ready.setdefault(row["id"], time.monotonic())


def log_bytes(instance: Instance) -> int:
    """Bytes of everything the server and its workers wrote."""
    return sum(path.stat().st_size for path in instance.folder.rglob("*.log*") if path.is_file())
