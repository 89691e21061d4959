"""What the first use of a fresh instance costs: nothing should wait for an import that was made already.

    python benchmarks/warm.py [--rounds 3] [--folder DIR]

Each round starts `modelyard serve` four times on one home with the built-in Hub's sample models (the one that is loaded
is a Llama of 23 MB), and runs beside it what one would do without Modelyard: a Python process that imports the
libraries, and one that imports them and calls `from_pretrained` on the same snapshot. Medians of the rounds count.

`healthy` and `warm` are seconds after the start of the command. Once warm and idle, one request each: a load until the
model is ready to generate, a 4-bit copy until it is ready, an exact memory estimate that was never made. "At healthy"
is the same, asked in the moment the server first answers. Memory is measured when nothing was asked yet.
Exit code 1 when a criterion is missed.
"""

import argparse
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from modelyard.core.process_memory import proportional_bytes

IMPORTS = "import torch, transformers, bitsandbytes"
LOADS = f"{IMPORTS}; import sys; transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype='auto')"
SAMPLES = "modelyard-samples"
LOADED, ESTIMATED_WARM, ESTIMATED_COLD = (f"{SAMPLES}/{name}" for name in ("tiny-llama", "tiny-gpt2", "tiny-qwen-moe"))
PATIENCE_SECONDS = 300.0


@dataclass
class Server:
    """`modelyard serve` on a home, and when it was started."""

    folder: Path
    port: int = field(default_factory=lambda: _free_port())
    started: float = 0.0
    process: "subprocess.Popen[bytes] | None" = None

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Start it and wait until it is healthy; stop it afterwards."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "HF_"))}
        environment = {
            "MODELYARD_HOME": str(self.folder / "home"),
            "HF_HOME": str(self.folder / "hf"),
            "MODELYARD_PORT": str(self.port),
        }
        self.started = time.perf_counter()
        with (self.folder / "console.log").open("ab") as log:
            command = [sys.executable, "-m", "modelyard", "serve"]
            self.process = subprocess.Popen(command, env=kept | environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False) as self.http:
                self.wait(self._healthy)
                yield self
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def _healthy(self) -> bool:
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, condition: Callable[[], object]) -> float:
        """Poll until something is so; return the seconds that this took."""
        begun = time.perf_counter()
        while not condition():
            if time.perf_counter() - begun > PATIENCE_SECONDS:
                raise TimeoutError("this never comes")
            time.sleep(0.01)
        return time.perf_counter() - begun

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.http.get(f"/api/v1{path}", params=parameters)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"/api/v1{path}", json=body)
        answer.raise_for_status()
        row: dict[str, Any] = answer.json()
        return row

    def is_ready(self, row_id: str) -> bool:
        row = self.get(f"/models/{row_id}")
        if row["status"] == "failed":
            raise RuntimeError(row["error"])
        return bool(row["status"] == "ready")

    def load(self, row_id: str) -> float:
        """Seconds until a model is ready to generate."""
        self.post(f"/models/{row_id}/load")
        return self.wait(lambda: self.get(f"/models/{row_id}")["loaded"])

    def four_bit_copy(self, row_id: str) -> float:
        """Seconds until the copy is ready; it is removed again."""
        copy = self.post(f"/models/{row_id}/quantize", quantization="4bit")
        seconds = self.wait(lambda: self.is_ready(copy["id"]))
        self.http.delete(f"/api/v1/models/{copy['id']}").raise_for_status()
        return seconds

    def estimate(self, row_id: str) -> float:
        """Seconds until an estimate is exact."""
        return self.wait(lambda: self.get(f"/models/{row_id}/estimate-memory")["method"] == "exact")

    def memory(self) -> tuple[int, int]:
        """Bytes of all processes, what they share counted once, and of the API, shared or not."""
        if self.process is None:
            raise RuntimeError("the server does not run")
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        api = next(process for process in family if "api" in process.cmdline())
        return sum(proportional_bytes(process.pid) for process in family), int(api.memory_info().rss)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare(server: Server) -> dict[str, str]:
    """Download the models; return the ids of their rows by name."""
    with server.running():
        server.http.put("/api/v1/settings", json={"endpoint": "builtin"}).raise_for_status()
        names = (LOADED, ESTIMATED_WARM, ESTIMATED_COLD)
        rows = {name: server.post("/models/download", model_id=name)["id"] for name in names}
        for row_id in rows.values():
            server.wait(partial(server.is_ready, row_id))
    return rows


def measure(server: Server, rows: dict[str, str]) -> dict[str, float]:
    """One round of everything, on a home where nothing was asked yet."""
    found: dict[str, float] = {}
    with server.running():
        found["healthy"] = time.perf_counter() - server.started
        server.wait(lambda: server.get("/system")["warm"])
        found["warm"] = time.perf_counter() - server.started
        server.wait(lambda: len([worker for worker in server.get("/system")["workers"] if worker["alive"]]) == 3)
        time.sleep(60)  # what begins by itself at the start is over, and idle processes have ended
        found["memory"], found["api"] = server.memory()
        found["load"] = server.load(rows[LOADED])
        found["loading itself"] = server.get(f"/models/{rows[LOADED]}")["last_load_seconds"]
        snapshot = server.get(f"/models/{rows[LOADED]}")["snapshot_path"]
        found["copy"] = server.four_bit_copy(rows[LOADED])
        found["estimate"] = server.estimate(rows[ESTIMATED_WARM])
    with server.running():
        found["load at healthy"] = server.load(rows[LOADED])
    with server.running():
        found["copy at healthy"] = server.four_bit_copy(rows[LOADED])
    with server.running():
        found["estimate at healthy"] = server.estimate(rows[ESTIMATED_COLD])
    found["import"] = _timed(IMPORTS)
    found["from_pretrained"] = _timed(LOADS, snapshot)
    return found


def _forget_answers(folder: Path) -> None:
    """Have every estimate be made anew."""
    with closing(sqlite3.connect(folder / "home" / "modelyard.db")) as database, database:
        database.execute("DELETE FROM inspections")


def _timed(program: str, *arguments: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", program, *arguments]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return time.perf_counter() - started


def report(found: dict[str, float]) -> bool:
    """Print the tables; return whether every criterion is met."""
    left = max(0.0, found["warm"] - found["healthy"])
    print(f"\n{'without Modelyard':44}{'seconds':>9}")
    print(f"{IMPORTS:44}{found['import']:9.2f}")
    print(f"{'the same, and from_pretrained':44}{found['from_pretrained']:9.2f}")
    print(f"\n{'':44}{'measured':>9}{'limit':>9}")
    rows = [
        ("healthy", found["healthy"], 3.0),
        ("warm", found["warm"], 1.3 * found["import"]),
        ("once warm: load, ready to generate", found["load"], 1.5),
        ("  of it more than loading itself", found["load"] - found["loading itself"], 1.0),
        ("once warm: 4-bit copy", found["copy"], 3.0),
        ("once warm: exact estimate", found["estimate"], 1.5),
        ("at healthy: load", found["load at healthy"], 1.5 + left),
        ("at healthy: 4-bit copy", found["copy at healthy"], 3.0 + left),
        ("at healthy: exact estimate", found["estimate at healthy"], 1.5 + left),
        ("idle: MB of all processes (shared once)", found["memory"] / 1e6, 700.0),
        ("idle: MB of the API process", found["api"] / 1e6, 150.0),
    ]
    for title, measured, limit in rows:
        print(f"{title:44}{measured:9.2f}{limit:9.2f}{'' if measured <= limit else '  missed'}")
    return all(measured <= limit for _, measured, limit in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="modelyard-bench-") as name:
        prepared = Server(Path(name) / "prepared")
        prepared.folder.mkdir()
        ids = prepare(prepared)
        rounds = []
        for number in range(arguments.rounds):
            folder = Path(name) / f"round-{number}"
            shutil.copytree(prepared.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("broker"))
            _forget_answers(folder)
            rounds.append(measure(Server(folder), ids))
            shutil.rmtree(folder)
    print(f"medians of {arguments.rounds} rounds; load {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores")
    return 0 if report({name: median(found[name] for found in rounds) for name in rounds[0]}) else 1


if __name__ == "__main__":
    sys.exit(main())
