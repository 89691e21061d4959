"""A supervisor with a tiny API and tiny tasks, which starts within a second."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from support import programs

SOURCE = Path(__file__).parents[2] / "src"

SERVE = """
import json, sys
from modelyard.core.settings import Settings
from modelyard.workers.processes.supervisor import Supervisor
options = {"application": "tiny_api:create_app", "celery": "tiny_tasks:celery_app"} | json.loads(sys.argv[1])
sys.exit(Supervisor(Settings(), **options).run())
"""

WORK = """
import sys
from modelyard.core.settings import Settings
from modelyard.workers.processes.supervisor import Supervisor
sys.exit(Supervisor(Settings(), celery="tiny_tasks:celery_app").run_worker(["downloads", "compute"]))
"""

WAKE = "import sys; from modelyard.core.queue import send_wakeup; send_wakeup(*sys.argv[1:])"


class Server:
    """A supervisor with the tiny API and the tiny tasks, in a process of its own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.notes = folder / str(options.pop("notes", "notes"))
        self.notes.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")},
            "MODELYARD_HOME": str(self.home),
            "MODELYARD_PORT": "0",
            "MODELYARD_WARM": "0",
            "TINY_NOTES": str(self.notes),
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(Path(__file__).parents[1] / "workers")]),
            "HTTP_PROXY": "http://127.0.0.1:9",  # must not be used for the server's own address
        }
        self.environment.update(options.pop("environment", {}))
        self.program: str = options.pop("program", SERVE)
        self.options = json.dumps(options)
        self.descriptors: tuple[int, ...] = ()
        self.output = folder / "output"

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.program, self.options],
                stdout=output,
                stderr=output,
                env=self.environment,
                pass_fds=self.descriptors,
                start_new_session=True,
            )

    def start_and_wait(self, workers: int = 3) -> None:
        self.start()
        wait_for(lambda: len(self.noted("pids")) >= workers and "is ready" in self.said())

    def said(self) -> str:
        return self.output.read_text()

    def url(self) -> str:
        return self.said().partition("is ready: ")[2].split()[0]

    def noted(self, name: str) -> list[str]:
        file = self.notes / name
        return file.read_text().split() if file.exists() else []

    def wake(self, queue: str, task: str, job_id: str) -> None:
        programs.run([sys.executable, "-c", WAKE, queue, task, job_id], env=self.environment, check=True)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker_pid(self, queue: str) -> int:
        return next(each.pid for each in self.family() if each.cmdline()[-1] == queue)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
