"""A real `modelyard serve` with a home and a cache of its own, driven over HTTP as a user's page would."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.programs import Popen
from support.samples import link_samples, link_samples_if_made
from support.storage import Unprivileged
from support.warm import shared_channel

START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(supervisor: int) -> dict[str, psutil.Process]:
    """The processes a `modelyard serve` started, or had forked, by role: api, downloads, compute, inference."""
    found = {}
    parent_pipe = set(_pipes(supervisor))
    for child in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ends just now, or is another user's
            words = child.cmdline()
            if "modelyard.workers" in words and parent_pipe.intersection(_pipes(child.pid)):
                found["api" if "api" in words else words[words.index("--queues") + 1]] = child
    return found


def _pipes(pid: int) -> Iterator[str]:
    """What a process has open besides its input and output."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed just now
            opened = str(descriptor.readlink())
            if int(descriptor.name) > 2 and opened.startswith("pipe:"):
                yield opened


def running(module: str) -> psutil.Process | None:
    """A process that runs this module for one of this process's servers; another process may have forked it."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ends just now
            if module in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                return process
    return None


@contextmanager
def standing_still(process: psutil.Process) -> Iterator[psutil.Process]:
    """What waits for a process, or runs in it, goes on doing so for as long as this lasts, or until it is killed.

    It is not held in the middle of a write to the embedded database, which would keep everybody else from writing.
    """
    database = _home_of(process) / "modelyard.db"
    _suspend(process)
    while _is_written_to(database):
        process.resume()
        time.sleep(0.005)
        _suspend(process)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _home_of(process: psutil.Process) -> Path:
    """What its log lies in: the environment that is shown of a forked one is its warm parent's."""
    output = Path(f"/proc/{process.pid}/fd/2").readlink()
    return output.parents[1] if output.parent.name == "logs" else Path(process.environ()["MODELYARD_HOME"])


def _suspend(process: psutil.Process) -> None:
    """Return once every thread stands still: one inside a system call takes its lock before it stops."""
    process.suspend()
    end = time.monotonic() + 10
    while not all(_stopped(stat) for stat in Path(f"/proc/{process.pid}/task").glob("*/stat")):
        if time.monotonic() > end:
            raise TimeoutError(f"process {process.pid} does not stop")
        time.sleep(0.001)


def _stopped(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _is_written_to(database: Path) -> bool:
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            return True
        connection.rollback()
        return False


class Instance:
    """One server with its workers. `folder` holds home, cache and the console's output.

    It is forked from a process that has imported everything; one that is started `afresh` is not. It uses the warm
    parent that all tests share; one that is started `as_users_do` is started afresh and has its own. `python` is that
    of another installation, for one `as_users_do`.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        arguments: tuple[str, ...] = (),
        user: Unprivileged | None = None,
        afresh: bool = False,
        as_users_do: bool = False,
        python: Path = Path(sys.executable),
    ):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home, self.hf_home = folder / "home", folder / "hf"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "HF_"))},
            "MODELYARD_HOME": str(self.home),
            "MODELYARD_PORT": str(self.port),
            "HF_HOME": str(self.hf_home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **({} if as_users_do else {"MODELYARD_WARM": "0"}),
            **(environment or {}),
        }
        self.arguments, self.python = arguments, python
        self.user = user
        self.shares_warm_parent = user is None and not as_users_do
        self._popen = subprocess.Popen if afresh or as_users_do else Popen
        self.process: subprocess.Popen[bytes] | None = None
        key = self.environment.get("MODELYARD_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.api = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60, headers=headers)

    def start(self) -> "Instance":
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user is None and not self.home.exists():
            link_samples_if_made(self.home)
        variables, descriptors = shared_channel() if self.shares_warm_parent else ({}, ())
        serve = [str(self.python), "-m", "modelyard", "serve", *self.arguments]
        with (self.folder / "console.log").open("ab") as console:
            self.process = self._popen(
                [*(self.user.prefix if self.user else ()), *serve],
                env=self.environment | variables,
                pass_fds=descriptors,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd="/" if self.user else None,
                **(self.user.popen if self.user else {}),
            )
        self.wait_until(self.healthy, START_SECONDS, "the server is healthy")
        return self

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.console()}"
        try:
            return httpx.get(f"{self.url}/healthz", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process = None
        return code

    def kill(self) -> None:
        """kill -9 of the supervisor alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def children(self) -> dict[str, psutil.Process]:
        """The processes the supervisor started."""
        assert self.process is not None
        return children_of(self.process.pid)

    def console(self) -> str:
        return (self.folder / "console.log").read_text()

    def use_builtin_hub(self) -> None:
        if self.user is None:
            link_samples(self.home)
        assert self.api.put("/settings", json={"endpoint": "builtin"}).status_code == 200

    def download(self, model_id: str, **fields: Any) -> dict[str, Any]:
        answer = self.api.post("/models/download", json={"model_id": model_id, **fields})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def model(self, row_id: str) -> dict[str, Any]:
        answer = self.api.get(f"/models/{row_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, row_id: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        """The row once it has one of the statuses; a failed row ends the wait."""

        def reached() -> dict[str, Any] | None:
            model = self.model(row_id)
            if model["status"] in statuses:
                return model
            assert model["status"] != "failed", model["error"]
            return None

        return self.wait_until(reached, seconds, f"{row_id} is {' or '.join(statuses)}")

    def wait_until(self, probe: Callable[[], Any], seconds: float, what: str) -> Any:
        """The first true answer of `probe`; fails after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            if answer := probe():
                return answer
            assert time.monotonic() < end, f"not within {seconds} s: {what}\n{self.console()[-2000:]}"
            time.sleep(0.1)

    def unload_all(self) -> None:
        """Nothing is in memory, and no load waits or runs that would bring something there."""
        self.wait_until(lambda: not self._loads(), 60, "every load has ended")
        for item in self.api.get("/models/loaded").json()["items"]:
            self.api.post(f"/models/{item['id']}/unload")
        self.wait_until(lambda: self.api.get("/models/loaded").json()["items"] == [], 30, "everything is unloaded")
        self.wait_until(lambda: not any(model["unloading"] for model in self._models()), 30, "every unload has ended")

    def _loads(self) -> list[str]:
        return [model["id"] for model in self._models() if (model["progress"] or {}).get("phase") == "loading"]

    def _models(self) -> list[dict[str, Any]]:
        models: list[dict[str, Any]] = self.api.get("/models").json()["items"]
        return models

    def cache_bytes(self) -> int:
        """Bytes of file content under the cache, links and lock files not counted."""
        repositories = (self.hf_home / "hub").glob("models--*")
        files = (path for repository in repositories for path in repository.rglob("*"))
        return sum(path.lstat().st_size for path in files if path.is_file() and not path.is_symlink())
