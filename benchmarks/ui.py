"""Whether the page stays smooth: a long list, downloads under way, the list being scrolled, in headless Chromium.

    python benchmarks/ui.py [--models 10000] [--downloads 20] [--rounds 5] [--seconds 6] [--folder DIR]

Measured once as cards and once as a table.

A real server with its built page and a home of its own; the rows have small snapshots on the disk. This script takes
the part of the workers: it claims the downloads' jobs and reports their progress five times a second. Rounds without
and with progress alternate, and medians count. The browser paints in software, so a frame costs far more than on a
screen with a GPU. "page" and "API" are the share of one core that the page's main thread and the server's process took.
Exit code 1 when a criterion is missed.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from modelyard.api.pages import STATIC
from modelyard.core import migrate
from modelyard.core.database import Database, utc_now
from modelyard.models import Job, JobKind, Model, ModelStatus, Quantization
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.kinds import JOB_QUEUES

FRONTEND = Path(__file__).parents[1] / "frontend"
REPORTS_PER_SECOND = 5
FILES = {"config.json": 700, "generation_config.json": 120, "tokenizer.json": 9_085_657, "model.safetensors": None}
"""Bytes of a snapshot's files, which are sparse; the weights have the size of the model."""

LAYOUTS = ("cards", "table")

# The limits: a ratio, seconds, bytes.
RATIO, LONG_TASK, FIRST_PAINT, SCRIPTS, API_BYTES = 0.75, 0.1, 1.0, 250_000, 150_000_000


@dataclass(frozen=True)
class Shape:
    """What a family of models looks like."""

    owner: str
    family: str
    architecture: str
    parameters: int
    hidden: int
    layers: int


SHAPES = (
    Shape("Qwen", "Qwen3", "Qwen3ForCausalLM", 596_049_920, 1024, 28),
    Shape("meta-llama", "Llama-3.2", "LlamaForCausalLM", 1_235_814_400, 2048, 16),
    Shape("google", "gemma-3", "Gemma3ForCausalLM", 999_885_952, 1152, 26),
    Shape("EleutherAI", "pythia", "GPTNeoXForCausalLM", 405_334_016, 1024, 24),
)


class Home:
    """A server's folders and database, filled by this script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.cache = folder / "home", folder / "hf" / "hub"
        self.home.mkdir(mode=0o700)
        self.database = Database(f"sqlite:///{self.home / 'modelyard.db'}")
        migrate.upgrade(self.database)

    def fill(self, models: int, downloads: int) -> list[str]:
        """Add the rows, and a queued job to each one to be downloaded; returns the ids of the jobs.

        The downloads are spread over the newest rows, four cards apart, where the list is scrolled.
        """
        now = utc_now()
        jobs = []
        with self.database.session() as session:
            for number in range(models):
                active = number % 4 == 1 and number // 4 < downloads
                row = self._row(number, ModelStatus.DOWNLOADING if active else _status(number))
                row.created_at = row.updated_at = now - timedelta(minutes=1 + number)
                session.add(row)
                if active:
                    session.flush()
                    job = Job(kind=JobKind.DOWNLOAD, queue=JOB_QUEUES[JobKind.DOWNLOAD], subject_id=row.id)
                    session.add(job)
                    session.flush()
                    row.job_id = job.id
                    jobs.append(job.id)
        return jobs

    def _row(self, number: int, status: ModelStatus) -> Model:
        shape = SHAPES[number % len(SHAPES)]
        size = shape.parameters * 2
        row = Model(
            model_id=f"{shape.owner}/{shape.family}-{number:05}",
            canonical_id=f"{shape.owner}/{shape.family}-{number:05}",
            endpoint="https://huggingface.co",
            commit=f"{number:040x}",
            status=status,
            quantization=Quantization.NONE,
            architecture=shape.architecture,
            model_type=shape.family.lower(),
            num_parameters=shape.parameters,
            dtype="bfloat16",
            hidden_size=shape.hidden,
            num_layers=shape.layers,
            vocab_size=128_256,
            max_position_embeddings=40_960,
            size_bytes=size,
            disk_bytes=size if status is ModelStatus.READY else 0,
            memory_estimated_bytes=size,
            memory_method="exact",
        )
        row.files = [
            {
                "path": path,
                "size_bytes": size if bytes_ is None else bytes_,
                "sha256": hashlib.sha256(f"{number} {path}".encode()).hexdigest(),
                "git_sha1": None,
                "present_before": False,
            }
            for path, bytes_ in FILES.items()
        ]
        if status is ModelStatus.FAILED:
            row.error = {"code": "hub_unreachable", "message": "The Hub did not answer.", "hint": "Try it again."}
        if status is ModelStatus.READY:
            self._write_snapshot(row)
        return row

    def _write_snapshot(self, row: Model) -> None:
        folder = self.cache / f"models--{row.model_id.replace('/', '--')}" / "snapshots" / row.commit
        folder.mkdir(parents=True)
        for file in row.files or ():
            with (folder / file["path"]).open("wb") as stored:
                os.truncate(stored.fileno(), file["size_bytes"])


def _status(number: int) -> ModelStatus:
    """Most are ready; one in fifty failed, one in fifty waits to be resumed."""
    return {7: ModelStatus.FAILED, 31: ModelStatus.PAUSED}.get(number % 50, ModelStatus.READY)


class Downloads(threading.Thread):
    """The workers' part: owns running jobs, keeps them alive and, while `reporting` is set, tells how far they are."""

    def __init__(self, database: Database, jobs: list[str]) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.reporting = threading.Event()
        self.reports = 0
        self._ended = threading.Event()
        with database.session() as session:
            claimed = [JobService(session).claim(job, "benchmark") for job in jobs]
        self._owners = {job.id: job.owner or "" for job in claimed if job is not None}
        assert len(self._owners) == len(jobs)

    def run(self) -> None:
        step = 0
        while not self._ended.wait(1 / REPORTS_PER_SECOND):
            step += self.reporting.is_set()
            with self.database.session() as session:
                service = JobService(session)
                for number, (job, owner) in enumerate(self._owners.items()):
                    service.heartbeat(job, owner, _progress(number, step) if self.reporting.is_set() else None)
                    self.reports += self.reporting.is_set()

    def end(self) -> None:
        self._ended.set()
        self.join()


def _progress(number: int, step: int) -> JobProgress:
    total = SHAPES[1].parameters * 2
    rate = 9e6 + 1e5 * number + 1e4 * (step % 7)
    done = round(total * 0.01 * number / 2 + step * rate / REPORTS_PER_SECOND)
    return JobProgress("downloading", done, total, rate, (total - done) / rate, files_done=3, files_total=4)


class Server:
    """`modelyard serve` without workers, on a free port."""

    def __init__(self, home: Home) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "HF_"))}
        environment = kept | {"MODELYARD_HOME": str(home.home), "HF_HUB_CACHE": str(home.cache), "HF_HUB_OFFLINE": "1"}
        self.url = f"http://127.0.0.1:{port}"
        self._log = (home.folder / "console.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", "serve", "--no-workers", "--port", str(port)],
            env=environment,
            stdout=self._log,
            stderr=self._log,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.url}/healthz", timeout=1).status_code == 200:
                    break
            except httpx.TransportError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
            time.sleep(0.1)
        children = psutil.Process(self._process.pid).children()
        self.api = next(child for child in children if "api" in child.cmdline())

    def cpu_seconds(self) -> float:
        times = self.api.cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@contextmanager
def browser(chromium: str, url: str, models: int) -> Iterator[subprocess.Popen[str]]:
    """A page in Chromium that reads one command a line and answers with one."""
    node = Path(sys.executable).with_name("node")
    process = subprocess.Popen(
        [node if node.exists() else "node", "e2e/scrolling.ts", url, str(models)],
        cwd=FRONTEND,
        env=os.environ | {"CHROMIUM": chromium},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def ask(process: "subprocess.Popen[str]", **command: Any) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps(command), file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("The browser's script ended; its error is above.")
    answer: dict[str, Any] = json.loads(line)
    return answer


def time_lists(url: str, models: int) -> dict[str, float]:
    """Seconds of pages of the list, the median of nine."""
    timed = {}
    with httpx.Client(base_url=f"{url}/api/v1") as client:
        for limit, offset in ((50, 0), (500, 0), (500, max(0, models - 500))):
            seconds = []
            for _ in range(9):
                started = time.perf_counter()
                client.get("/models", params={"limit": limit, "offset": offset}).raise_for_status()
                seconds.append(time.perf_counter() - started)
            timed[f"limit={limit}, offset={offset}"] = median(seconds)
    return timed


@dataclass(frozen=True)
class Measured:
    """What one run found out: seconds, bytes, and shares of one core."""

    lists: dict[str, float]
    loads: list[dict[str, Any]]
    still: list[dict[str, Any]]
    """Rounds without updates."""
    updating: list[dict[str, Any]]
    api_unwatched: float
    api_bytes: int


def measure(folder: Path, chromium: str, arguments: argparse.Namespace) -> dict[str, Measured]:
    """Returns what was measured in each layout of the list."""
    home = Home(folder)
    downloads = Downloads(home.database, home.fill(arguments.models, arguments.downloads))
    downloads.start()
    server = Server(home)
    try:
        server.wait()
        lists = time_lists(server.url, arguments.models)
        # Long enough to see the files looked at.
        unwatched = _cpu_share(server, 40.0)
        measured = {}
        for layout in LAYOUTS:
            rounds: list[dict[str, Any]] = []
            with browser(chromium, server.url, arguments.models) as page:
                loads = [ask(page, do="load", layout=layout) for _ in range(3)]
                for number in range(2 * arguments.rounds):
                    rounds.append(_round(page, server, downloads, arguments.seconds, updating=number % 2 == 1))
            api_bytes = server.api.memory_info().rss
            measured[layout] = Measured(lists, loads, rounds[::2], rounds[1::2], unwatched, api_bytes)
    finally:
        downloads.end()
        server.stop()
    return measured


def _round(
    page: "subprocess.Popen[str]", server: Server, downloads: Downloads, seconds: float, *, updating: bool
) -> dict[str, Any]:
    if updating:
        downloads.reporting.set()
    else:
        downloads.reporting.clear()
    time.sleep(1)
    cpu, reports, started = server.cpu_seconds(), downloads.reports, time.monotonic()
    measured = ask(page, do="scroll", seconds=seconds)
    took = time.monotonic() - started
    measured["api"] = (server.cpu_seconds() - cpu) / took
    measured["reports_per_second"] = (downloads.reports - reports) / took
    return measured


def show(layout: str, measured: Measured, arguments: argparse.Namespace) -> bool:
    """Prints the tables; returns whether every criterion is met."""
    console = Console(width=110)
    console.print(
        f"{arguments.models} models as {layout}, {arguments.downloads} downloads; load of the machine {_load()}"
    )
    rounds = Table(
        "median of rounds", "frames/s", "reports/s", "messages/s", "drawn/s", "longest task ms", "page", "API"
    )
    for title, kind in (("without updates", measured.still), ("with updates", measured.updating)):
        rounds.add_row(
            title,
            f"{_median(kind, 'frames_per_second'):.1f}",
            *(f"{_median(kind, key):.0f}" for key in ("reports_per_second", "messages_per_second", "draws_per_second")),
            f"{1000 * _median(kind, 'longest_task'):.0f}",
            *(f"{100 * _median(kind, key):.0f} %" for key in ("busy", "api")),
        )
    console.print(rounds)
    figures = Table("figure", "value")
    for title, seconds in measured.lists.items():
        figures.add_row(f"GET /models?{title}", f"{1000 * seconds:.0f} ms")
    figures.add_row("first models shown", f"{_median(measured.loads, 'first_cards'):.2f} s")
    figures.add_row("all models listed", f"{_median(measured.loads, 'all_models'):.2f} s")
    figures.add_row("longest task of a load", f"{1000 * _median(measured.loads, 'longest_task'):.0f} ms")
    figures.add_row("scripts as sent", f"{_median(measured.loads, 'script_bytes_sent') / 1000:.0f} kB")
    figures.add_row("heap of the page", f"{_median(measured.loads, 'heap_bytes') / 1e6:.0f} MB")
    figures.add_row("processor of the API with no page open", f"{100 * measured.api_unwatched:.1f} %")
    figures.add_row(
        "worst task of all rounds", f"{1000 * max(each['longest_task'] for each in measured.updating):.0f} ms"
    )
    console.print(figures)
    # Neighbouring rounds, because what else the machine does changes over minutes.
    pairs = zip(measured.still, measured.updating, strict=True)
    ratio = median(updating["frames_per_second"] / still["frames_per_second"] for still, updating in pairs)
    task = _median(measured.updating, "longest_task")
    paint = _median(measured.loads, "first_paint")
    scripts = _median(measured.loads, "script_bytes")
    criteria = Table("criterion", "limit", "measured", "")
    met = [
        _judge(criteria, "frames with updates / without", ratio >= RATIO, f"{RATIO:.0%} or more", f"{ratio:.0%}"),
        _judge(criteria, "longest task", task <= LONG_TASK, f"{1000 * LONG_TASK:.0f} ms", f"{1000 * task:.0f} ms"),
        _judge(criteria, "first paint", paint < FIRST_PAINT, f"{FIRST_PAINT:.0f} s", f"{paint:.2f} s"),
        _judge(
            criteria,
            "scripts of a load, gzip",
            scripts < SCRIPTS,
            f"{SCRIPTS / 1000:.0f} kB",
            f"{scripts / 1000:.0f} kB",
        ),
        _judge(
            criteria,
            "memory of the API",
            measured.api_bytes < API_BYTES,
            f"{API_BYTES / 1e6:.0f} MB",
            f"{measured.api_bytes / 1e6:.0f} MB",
        ),
    ]
    console.print(criteria)
    return all(met)


def _judge(table: Table, title: str, passed: bool, limit: str, value: str) -> bool:
    table.add_row(title, limit, value, "pass" if passed else "fail")
    return passed


def _median(measured: list[dict[str, Any]], key: str) -> float:
    value: float = median(each[key] for each in measured)
    return value


def _load() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--downloads", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("This needs Chromium; install it, or set CHROMIUM to its path.")
    if not (STATIC / "index.html").exists():
        sys.exit("The page is not built; run make setup.")
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="modelyard-bench-") as name:
        measured = measure(Path(name), chromium, arguments)
    met = [show(layout, each, arguments) for layout, each in measured.items()]
    sys.exit(0 if all(met) else 1)


def _cpu_share(server: Server, seconds: float) -> float:
    """Of one core."""
    before = server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / seconds


if __name__ == "__main__":
    main()
