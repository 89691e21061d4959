import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.client.api_client import ApiClient
from support import programs
from support.samples import link_samples
from support.warm import shared_channel

COMMAND = [sys.executable, "-c", "from modelyard.cli import app; app(prog_name='modelyard')"]
SAMPLE = "modelyard-samples/tiny-gpt2"
LARGER_SAMPLE = "modelyard-samples/tiny-qwen-moe"


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would steer Modelyard, a Hub or a terminal."""
    steering = re.compile(r"(MODELYARD|HF)_|.*_PROXY$|COLUMNS$|NO_COLOR$|FORCE_COLOR$", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not steering.match(name)}
    return kept | {"MODELYARD_WARM": "0"} | variables


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@dataclass
class Commands:
    """Runs `modelyard …` against one server, or against none; `descriptors` are those that a command is given."""

    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()

    def __call__(self, *arguments: str, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        return programs.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment | variables,
            pass_fds=self.descriptors,
            check=False,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return programs.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            pass_fds=self.descriptors,
            start_new_session=True,
        )


@dataclass
class Server:
    """`modelyard serve` in a process of its own, with its own folders."""

    folder: Path
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = clean_environment(
            MODELYARD_HOME=str(self.folder / "home"), HF_HOME=str(self.folder / "hf"), **self.variables
        )
        self._output = self.folder / "output"
        link_samples(self.folder / "home")
        variables, descriptors = shared_channel()
        with self._output.open("w") as output:
            self.process = programs.Popen(
                [*COMMAND, "serve", "--port", "0", *self.options],
                stdout=output,
                stderr=output,
                env=self.environment | variables,
                pass_fds=descriptors,
                start_new_session=True,
            )
        try:
            wait_for(lambda: "is ready" in self.output or self.process.poll() is not None)
            assert "is ready" in self.output, self.output
        except BaseException:
            self.stop()
            raise
        self.url = self.output.partition("is ready: ")[2].split()[0]
        self.modelyard = Commands(self.environment | {"MODELYARD_SERVER": self.url})
        self.client = ApiClient(self.url, self.variables.get("MODELYARD_API_KEY"))

    @property
    def output(self) -> str:
        return self._output.read_text()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)

    def slow_down(self) -> None:
        """The larger sample then takes more than ten seconds, the smaller one two."""
        self.client.put("/settings", {"bandwidth_limit_bytes_per_second": 4_000_000})

    def row(self, model_id: str) -> dict[str, object]:
        return next(row for row in self.client.models()["items"] if row["model_id"] == model_id)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def server(running_server: Server) -> Server:
    """A server with no models, its built-in Hub and no limit of speed."""
    client = running_server.client
    client.put("/settings", {"endpoint": "builtin", "bandwidth_limit_bytes_per_second": None})
    for row in client.models()["items"]:
        client.delete(f"/models/{row['id']}", confirm_shared=True)
    return running_server


@pytest.fixture
def alone(tmp_path: Path) -> Commands:
    """Commands that find no server; what they ask torch is asked in processes that have imported it."""
    folders = {"MODELYARD_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")}
    variables, descriptors = shared_channel()
    return Commands(clean_environment(MODELYARD_SERVER="http://127.0.0.1:1", **folders) | variables, descriptors)
