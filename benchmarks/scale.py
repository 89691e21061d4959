"""What ten thousand models and a thousand open pages cost: the Hub endpoint, the API's lists, and the live events.

    python benchmarks/scale.py [--models 10000] [--clients 1000] [--downloads 50] [--seconds 30] [--only sockets]

A real server with a home of its own; every model has a small real snapshot on the disk. This script takes the part of
the workers: it claims the downloads' jobs and reports their progress twice a second. Clients are processes of their
own, so that the API's processor time is counted apart. `scan_cache_dir` is what one calls without Modelyard to list a
cache. Exit code 1 when a criterion is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import httpx
from rich import box
from rich.console import Console
from rich.table import Table
from scaling.home import Home, Server
from scaling.sockets import Measured, measure_sockets

HUB_SECONDS, LIST_SECONDS, EVENT_SECONDS, CORES = 0.05, 0.06, 1.0, 1.0
"""The limits: a request to the Hub endpoint, a page of 500 models, a change's way to the clients, the API."""
REPEATS = 15


def timed(server: Server, call: Callable[[], object], repeats: int = REPEATS) -> dict[str, float]:
    """Seconds of a call: the median and the worst, and the API's processor seconds."""
    call()
    seconds = []
    cpu = server.cpu_seconds()
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return {"median": median(seconds), "worst": max(seconds), "cpu": (server.cpu_seconds() - cpu) / repeats}


def measure_requests(server: Server, home: Home, paths: dict[str, str]) -> dict[str, dict[str, float]]:
    measured = {}
    with httpx.Client(base_url=server.url, timeout=120) as client:
        for title, path in paths.items():
            numbers = iter(range(1, 10**6, 37))  # another model each time

            def get(path: str = path, numbers: Iterator[int] = numbers) -> None:
                client.get(path.format(n=next(numbers) % home.models)).raise_for_status()

            measured[title] = timed(server, get)
    return measured


HUB_PATHS = {
    "list, limit=20": "/hub/api/models?limit=20",
    "list, limit=20, search": "/hub/api/models?limit=20&search=-0{n}",
    "list, limit=20, search without a match": "/hub/api/models?limit=20&search=nothing{n}",
    "list, limit=20, tag and author": "/hub/api/models?limit=20&filter=llama&author=meta-llama",
    "list, a page of 1000": "/hub/api/models",
    "list, the last page of 1000": "/hub/api/models?cursor=9000",
    "list, a page of 1000 with files and cards": "/hub/api/models?full=1&config=1&cardData=1",
    "info": "/hub/api/models/bench/model-{n:05}",
    "info with files": "/hub/api/models/bench/model-{n:05}?blobs=1",
    "HEAD of a file, as GET": "/hub/bench/model-{n:05}/resolve/main/config.json",
}
API_PATHS = {
    "GET /models?limit=50": "/api/v1/models?limit=50",
    "GET /models?limit=500": "/api/v1/models?limit=500",
    "GET /models?limit=500, the last": "/api/v1/models?limit=500&offset=9500",
    "GET /models?q=": "/api/v1/models?q=-0{n}",
    "GET /models/{id}": "/api/v1/models/{n:032x}",
    "GET /system": "/api/v1/system",
}


def measure_scan(home: Home) -> float:
    """Seconds that huggingface_hub's own listing of the same cache takes, in a process of its own."""
    program = "import time, sys; from huggingface_hub import scan_cache_dir; t = time.perf_counter();"
    program += "assert scan_cache_dir(sys.argv[1]).repos; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", program, str(home.cache)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def show_requests(console: Console, title: str, measured: dict[str, dict[str, float]]) -> None:
    table = Table(title, "median ms", "worst ms", "processor ms of the API", box=box.MARKDOWN)
    for name, seconds in measured.items():
        table.add_row(name, *(f"{1000 * seconds[key]:.1f}" for key in ("median", "worst", "cpu")))
    console.print(table)


def show_sockets(console: Console, arguments: argparse.Namespace, measured: dict[str, Measured]) -> None:
    table = Table(
        f"{arguments.clients} sockets, {arguments.downloads} downloads",
        *("p50 ms", "p99 ms", "worst ms", "API, cores", "clients, cores", "batches/s", "MB/s", "new snapshots"),
        *("cut off", "never heard"),
        box=box.MARKDOWN,
    )
    for title, each in measured.items():
        table.add_row(
            title,
            *(f"{1000 * seconds:.0f}" for seconds in (each.p50, each.p99, each.worst)),
            f"{each.api:.2f}",
            f"{each.clients:.2f}",
            f"{each.messages_per_second:.1f}",
            f"{each.bytes_per_second / 1e6:.1f}",
            *(str(count) for count in (each.snapshots, each.cut_off, each.missing)),
        )
    console.print(table)


def judge(console: Console, limits: dict[str, tuple[float, float]]) -> bool:
    """Prints each figure beside its limit; returns whether all are kept."""
    table = Table("criterion", "limit", "measured", "", box=box.MARKDOWN)
    for title, (measured, limit) in limits.items():
        table.add_row(title, f"{limit:g}", f"{measured:.3g}", "pass" if measured <= limit else "fail")
    console.print(table)
    return all(measured <= limit for measured, limit in limits.values())


def measure(server: Server, home: Home, console: Console, arguments: argparse.Namespace) -> bool:
    """Prints the tables of all parts that were asked for; returns whether every criterion is met."""
    limits: dict[str, tuple[float, float]] = {}
    if "hub" in arguments.only:
        hub = measure_requests(server, home, HUB_PATHS)
        show_requests(console, "Hub endpoint", hub)
        console.print(f"huggingface_hub's scan_cache_dir of the same cache: {measure_scan(home):.2f} s\n")
        for title in ("list, limit=20", "list, limit=20, search", "info"):
            limits[f"Hub endpoint: {title}, seconds"] = (hub[title]["median"], HUB_SECONDS)
    if "api" in arguments.only:
        lists = measure_requests(server, home, API_PATHS)
        show_requests(console, "API", lists)
        limits["API: a page of 500, seconds"] = (lists["GET /models?limit=500"]["median"], LIST_SECONDS)
    if "sockets" in arguments.only:
        sockets = {}
        for title, plain in (("compressed", False), ("not compressed", True)):
            sockets[title] = measure_sockets(
                server, home, arguments.clients, arguments.downloads, arguments.seconds, plain=plain
            )
            home.end_downloads()
        show_sockets(console, arguments, sockets)
        limits["events: p99, seconds"] = (sockets["compressed"].p99, EVENT_SECONDS)
        limits["events: the API, cores"] = (sockets["compressed"].api, CORES)
        limits["events: sockets cut off"] = (sockets["compressed"].cut_off, 0)
    return judge(console, limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--downloads", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--only", default="hub,api,sockets")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="modelyard-bench-") as name:
        home = Home(Path(name))
        started = time.monotonic()
        home.fill(arguments.models)
        console.print(f"{arguments.models} models made in {time.monotonic() - started:.0f} s; load {load()}")
        server = Server(home)
        try:
            server.wait()
            server.settle()
            met = measure(server, home, console, arguments)
            console.print(f"load of the machine at the end: {load()}")
        finally:
            server.stop()
    sys.exit(0 if met else 1)


def load() -> str:
    return ", ".join(f"{each:.1f}" for each in os.getloadavg())


if __name__ == "__main__":
    main()
