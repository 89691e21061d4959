"""How long a change takes from the database to every open page, and what that costs the API."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from modelyard.core.database import Database
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService
from scaling.home import Home, Server

REPORTS_PER_SECOND = 2
PROCESSES = 2
WARM_UP_SECONDS = 3.0
GRACE_SECONDS = 5.0


class Downloads(threading.Thread):
    """The workers' part: reports all downloads in one transaction, numbered, and notes when that was committed."""

    def __init__(self, database: Database, jobs: list[str]) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._ended = threading.Event()
        self.committed: dict[int, float] = {}
        with database.session() as session:
            claimed = [JobService(session).claim(job, "benchmark") for job in jobs]
        self._owners = {job.id: job.owner or "" for job in claimed if job is not None}
        assert len(self._owners) == len(jobs)

    def run(self) -> None:
        number = 0
        while not self._ended.wait(1 / REPORTS_PER_SECOND):
            number += 1
            with self._database.session() as session:
                service = JobService(session)
                for place, (job, owner) in enumerate(self._owners.items()):
                    done = 1_000_000 * number + 1000 * place
                    service.heartbeat(
                        job, owner, JobProgress("downloading", done, 10**9, 9e6, 40.0, 3, 4, f"report {number}")
                    )
            self.committed[number] = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self.join()


@dataclass(frozen=True)
class Measured:
    """Seconds; `api` and `clients` are shares of one core."""

    p50: float
    p99: float
    worst: float
    api: float
    clients: float
    messages_per_second: float
    bytes_per_second: float
    snapshots: int
    cut_off: int
    missing: int


def measure_sockets(
    server: Server, home: Home, clients: int, downloads: int, seconds: float, *, plain: bool
) -> Measured:
    reports = Downloads(home.database, home.add_downloads(downloads))
    reports.start()
    lasts = seconds + WARM_UP_SECONDS + GRACE_SECONDS
    command = [sys.executable, "-m", "scaling.clients", str(server.port), str(clients // PROCESSES), str(lasts)]
    processes = [
        subprocess.Popen(
            command + (["--plain"] if plain else []),
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "connected"
    time.sleep(WARM_UP_SECONDS)
    begun, cpu = time.monotonic(), server.cpu_seconds()
    time.sleep(seconds)
    ended, used = time.monotonic(), server.cpu_seconds() - cpu
    answers = [json.loads(process.communicate(timeout=lasts + 120)[0]) for process in processes]
    reports.end()
    return _judge(answers, reports.committed, begun, ended, used, lasts, clients)


def _judge(
    answers: list[dict[str, Any]],
    committed: dict[int, float],
    begun: float,
    ended: float,
    used: float,
    lasts: float,
    clients: int,
) -> Measured:
    delays, missing = [], 0
    for number, moment in committed.items():
        if begun <= moment < ended:
            heard = [each for answer in answers for each in answer["moments"].get(str(number), ())]
            delays += [each - moment for each in heard]
            missing += clients - len(heard)
    percentiles = quantiles(delays, n=100, method="inclusive")
    return Measured(
        p50=percentiles[49],
        p99=percentiles[98],
        worst=max(delays),
        api=used / (ended - begun),
        clients=sum(answer["cpu_seconds"] for answer in answers) / lasts,
        messages_per_second=sum(answer["messages"] for answer in answers) / lasts / clients,
        bytes_per_second=sum(answer["wire_bytes"] for answer in answers) / lasts,
        snapshots=sum(answer["again"] for answer in answers),
        cut_off=sum(answer["lost"] for answer in answers),
        missing=missing,
    )
