"""What it costs to fetch a model with Modelyard, `hf download`, `curl | sha256sum` and aria2c, in one run.

    python benchmarks/download.py [--gigabytes 2] [--shards 4] [--rounds 3] [--folder /dev/shm]

Everything is on loopback: one server process (plain HTTP, sendfile) that speaks the Hub's protocol, and every
client as a whole process, start-up and imports included (they are also shown alone). Rounds are interleaved, and
each client's lowest figures count, because noise on a shared machine only ever adds. CPU and memory are those of the
client and its children. Only Modelyard and `curl | sha256sum` verify a hash; `hf download` and aria2c compare sizes.
The bare loop (`clients/bare_loop.py`) receives, writes and hashes the same bytes and does nothing else: the floor for a
client in Python on this machine.
"""

import argparse
import hashlib
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

REPO = "bench/model"
COMMIT = "be" * 20
BARE_LOOP = Path(__file__).parent / "clients" / "bare_loop.py"
THROTTLED_BYTES = 240_000_000
THROTTLE = 30_000_000


@dataclass(frozen=True)
class Measured:
    """One client's run; CPU in seconds, memory in bytes (the largest process)."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def lowest(self, other: "Measured") -> "Measured":
        return Measured(
            min(self.seconds, other.seconds),
            min(self.cpu_seconds, other.cpu_seconds),
            min(self.peak_bytes, other.peak_bytes),
        )


class Hub(BaseHTTPRequestHandler):
    """Enough of a Hub for one model: info, tree, and resolve with Range."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    hashes: dict[str, str]
    bytes_per_second: int | None

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        size = (self.folder / name).stat().st_size
        self._answer(200, self._file_headers(name) | {"Content-Length": str(size)})

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self._answer_json()
            return
        name = self.path.rsplit("/", 1)[-1]
        size = (self.folder / name).stat().st_size
        start, stop = 0, size
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if asked:
            first, _, last = asked.partition("-")
            start, stop = int(first), int(last) + 1 if last else size
        headers = self._file_headers(name) | {"Content-Length": str(stop - start), "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._answer(206 if asked else 200, headers)
        self.wfile.flush()
        began = time.monotonic()
        with (self.folder / name).open("rb") as source:
            position = start
            while position < stop:
                step = stop - position if self.bytes_per_second is None else min(1 << 18, stop - position)
                position += os.sendfile(self.connection.fileno(), source.fileno(), position, step)
                if self.bytes_per_second is not None:
                    pause = (position - start) / self.bytes_per_second - (time.monotonic() - began)
                    time.sleep(max(0.0, pause))

    def _file_headers(self, name: str) -> dict[str, str]:
        return {"X-Repo-Commit": COMMIT, "ETag": f'"{self.hashes[name]}"', "Content-Type": "application/octet-stream"}

    def _answer_json(self) -> None:
        sizes = {name: (self.folder / name).stat().st_size for name in self.hashes}
        lfs = {name: {"oid": self.hashes[name], "size": size, "pointerSize": 134} for name, size in sizes.items()}
        if "/tree/" in self.path:
            content: object = [
                {"type": "file", "path": name, "size": size, "oid": "0" * 40, "lfs": lfs[name]}
                for name, size in sizes.items()
            ]
        else:
            content = {"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in sizes]}
        body = json.dumps(content).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client may close a connection early."""


def serve(folder: Path, bytes_per_second: int | None) -> None:
    """Run the server until it is killed; its first line of output is its port."""
    Hub.folder, Hub.bytes_per_second = folder, bytes_per_second
    Hub.hashes = json.loads((folder / "hashes.json").read_text())
    with Server(("127.0.0.1", 0), Hub) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def fetch(endpoint: str, hashes_file: Path, target: Path, connections: int) -> None:
    """The client under test, in its own process."""
    from modelyard.hub.cache.hub_cache import HubCache
    from modelyard.hub.download.fetcher import Control, FetchLimits, RemoteFile, fetch_snapshot

    hashes: dict[str, str] = json.loads(hashes_file.read_text())
    files = [
        RemoteFile(name, (hashes_file.parent / name).stat().st_size, sha256, None) for name, sha256 in hashes.items()
    ]
    fetch_snapshot(
        endpoint=endpoint,
        repo_id=REPO,
        commit=COMMIT,
        files=files,
        store=HubCache(target),
        token=False,
        limits=lambda: FetchLimits(connections=connections, disk_reserve_bytes=0),
        on_progress=lambda _: None,
        control=lambda: Control.RUN,
    )


def measure(command: list[str] | str, environment: dict[str, str]) -> Measured:
    """Run a client to its end. Raises CalledProcessError with its output if it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        if process.returncode != 0:
            output.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, output.read().decode()[-2000:])
    # Includes the processes that the client itself waited for: all of a pipe.
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def make_files(folder: Path, total_bytes: int, shards: int) -> dict[str, str]:
    """Random shards and their hashes."""
    folder.mkdir()
    hashes = {}
    block = os.urandom(1 << 20)
    for number in range(shards):
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        hasher = hashlib.sha256()
        with (folder / name).open("wb") as output:
            left = total_bytes // shards
            while left > 0:
                piece = (number.to_bytes(4, "little") + left.to_bytes(8, "little") + block)[: min(left, 1 << 20)]
                output.write(piece)
                hasher.update(piece)
                left -= len(piece)
        hashes[name] = hasher.hexdigest()
    (folder / "hashes.json").write_text(json.dumps(hashes))
    return hashes


def clients(
    endpoint: str, source: Path, target: Path, names: list[str], connections: int
) -> dict[str, list[str] | str]:
    """What is compared: each fetches all files into `target`."""
    urls = [f"{endpoint}/{REPO}/resolve/{COMMIT}/{name}" for name in names]
    pipes = " && ".join(f"curl -sf {url} | tee {target}/{url.rsplit('/', 1)[-1]} | sha256sum" for url in urls)
    found: dict[str, list[str] | str] = {
        "bare loop": [sys.executable, "-I", "-S", str(BARE_LOOP), str(target), *urls],
        "modelyard": [
            sys.executable, __file__, "--fetch", endpoint, "--source", str(source), "--target", str(target),
            "--connections", str(connections),
        ],
        "hf download": [
            str(Path(sys.executable).with_name("hf")), "download", REPO, "--revision", COMMIT,
            "--cache-dir", str(target), "--quiet",
        ],
        "curl | sha256sum (no disk)": " && ".join(f"curl -sf {url} | sha256sum" for url in urls),
        "curl | tee | sha256sum": pipes,
    }  # fmt: skip
    if shutil.which("aria2c"):
        found["aria2c -x8"] = [
            "aria2c",
            "-q",
            "-x8",
            "-s8",
            "-k1M",
            "--file-allocation=none",
            "-d",
            str(target),
            "-Z",
            *urls,
        ]
    return found


def start_ups() -> dict[str, list[str]]:
    """The imports of a client and nothing more."""
    return {
        "modelyard, start-up alone": [sys.executable, "-c", "import modelyard.hub.download.fetcher"],
        "hf download, start-up alone": [
            sys.executable, "-c", "import huggingface_hub.cli.hf; from huggingface_hub import snapshot_download",
        ],
    }  # fmt: skip


def compare(
    title: str, workplace: Path, size: int, shards: int, rounds: int, throttle: int | None, only: set[str]
) -> None:
    """Measure all clients against one server and print the table."""
    source, target = workplace / "source", workplace / "target"
    hashes = make_files(source, size, shards)
    command = [sys.executable, __file__, "--serve", "--source", str(source)]
    server = subprocess.Popen([*command, *(["--throttle", str(throttle)] if throttle else [])], stdout=subprocess.PIPE)
    try:
        if server.stdout is None:
            raise RuntimeError("the server has no output")
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        environment = os.environ | {
            "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1", "HF_HOME": str(workplace / "home"),
        }  # fmt: skip
        best: dict[str, Measured] = {}
        todo = clients(endpoint, source, target, list(hashes), 8)
        if not throttle:
            todo |= start_ups()
        else:
            todo["modelyard, 1 connection"] = clients(endpoint, source, target, list(hashes), 1)["modelyard"]
        for _ in range(rounds):
            for name, client in todo.items():
                if only and name not in only:
                    continue
                target.mkdir()
                measured = measure(client, environment)
                shutil.rmtree(target)
                best[name] = measured.lowest(best.get(name, measured))
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(source)
    gigabytes = size / 1e9
    columns = f"{'seconds':>9}{'CPU s':>8}{'GB/s':>8}{'CPU s/GB':>10}{'peak MB':>9}"
    print(f"\n{title}\n{'':28}{columns}{'modelyard: time, CPU':>23}")
    ours = best["modelyard"]
    for name, measured in best.items():
        line = f"{name:28}{measured.seconds:9.2f}{measured.cpu_seconds:8.2f}"
        if name not in start_ups():
            line += f"{gigabytes / measured.seconds:8.2f}{measured.cpu_seconds / gigabytes:10.2f}"
            line += f"{measured.peak_bytes / 1e6:9.0f}{ours.seconds / measured.seconds:14.2f} x"
            line += f"{ours.cpu_seconds / measured.cpu_seconds:5.2f} x"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm" if Path("/dev/shm").is_dir() else "."))  # noqa: S108
    parser.add_argument("--only", nargs="*", default=[], help="names of clients to measure (modelyard always needed)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fetch", metavar="ENDPOINT", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--throttle", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, default=8, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.source, arguments.throttle)
        return
    if arguments.fetch:
        fetch(arguments.fetch, arguments.source / "hashes.json", arguments.target, arguments.connections)
        return
    size = int(arguments.gigabytes * 1e9)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        workplace = Path(name)
        only = set(arguments.only)
        title = (
            f"{arguments.gigabytes:g} GB in {arguments.shards} files, unlimited, lowest of {arguments.rounds} rounds"
        )
        compare(title, workplace, size, arguments.shards, arguments.rounds, None, only)
        title = f"{THROTTLED_BYTES / 1e9:g} GB in one file, {THROTTLE / 1e6:g} MB/s per connection, one round"
        compare(
            title,
            workplace,
            THROTTLED_BYTES,
            1,
            1,
            THROTTLE,
            {"modelyard", "modelyard, 1 connection", "curl | sha256sum (no disk)"},
        )


if __name__ == "__main__":
    main()
