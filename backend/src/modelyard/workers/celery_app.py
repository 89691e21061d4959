"""The Celery app of the workers, and how a worker runs."""

import fcntl
import hashlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from celery.signals import setup_logging, worker_shutting_down

from modelyard.core.errors import InvalidRequest
from modelyard.core.private_files import open_private
from modelyard.core.queue import QUEUES, declared, get_celery, line_of
from modelyard.core.settings import Settings, get_settings

if TYPE_CHECKING:
    from celery import Celery

CONCURRENCY = {"downloads": 16, "compute": 3, "inference": 4}
"""How many jobs of a queue one worker process can run at a time; settings may allow fewer. Of `compute` that is one
quantization and one training run, and a thread that finds out that a third job has to wait."""

TASK_MODULES = (
    "modelyard.workers.lifecycle",
    "modelyard.workers.shared_folders",
    "modelyard.workers.model_tasks",
    "modelyard.workers.inference_tasks",
    "modelyard.workers.training_tasks",
)
"""Imported when a worker starts, not with this module: `worker_init` and `worker_ready` handlers and the tasks."""

celery_app = get_celery()
celery_app.conf.include = TASK_MODULES

stopping = threading.Event()
"""Set when this process has been told to stop; running jobs look at it with every beat and give their lease back."""

_beginning_anew = threading.Event()
"""Set when this process is to end only to give back its memory, and to work on."""


def begin_anew() -> None:
    """Let running jobs end, then work on in a fresh process: the supervisor's next child, or the same command here."""
    _beginning_anew.set()
    os.kill(os.getpid(), signal.SIGTERM)


def _on_shutting_down(**_signal: Any) -> None:
    stopping.set()


def _keep_our_logging(**_signal: Any) -> None:
    """Celery configures logging unless somebody listens to this signal."""


worker_shutting_down.connect(_on_shutting_down)
setup_logging.connect(_keep_our_logging)


def run_worker(
    queues: Sequence[str], *, concurrency: int | None = None, app: "Celery | None" = None, supervised: bool = False
) -> int:
    """Work on `queues` in this process until SIGINT or SIGTERM, then let running jobs end; return the exit code.

    `concurrency` is the number of threads; by default what `CONCURRENCY` says for the queues together. Logging is the
    caller's (`process.configure_logging`). While the worker runs, `MODELYARD_WORKER_NAME` in this process's
    environment is the name jobs are leased under. With `supervised` somebody starts it again when it ends; otherwise
    it does so itself after `begin_anew`, and does not return. Raises InvalidRequest for an unknown queue.
    """
    for queue in queues:
        if queue not in QUEUES:
            raise InvalidRequest(f"There is no queue {queue!r}.", hint=f"The queues are {', '.join(QUEUES)}.")
    with _claim_name(get_settings(), queues) as claim:
        name = Path(claim.name).stem
        os.environ["MODELYARD_WORKER_NAME"] = name
        host, _, rest = name.partition(":")
        app, line = app or celery_app, line_of(name)
        app.amqp.queues.add(declared(line))
        worker = app.Worker(
            hostname=f"{rest}@{host}",
            queues=[*queues, line],
            pool="threads",
            concurrency=concurrency or sum(CONCURRENCY[queue] for queue in queues),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
    if _beginning_anew.is_set() and not supervised:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command
    return worker.exitcode or 0


def default_worker_name(settings: Settings, queues: Sequence[str]) -> str:
    """The same for every start of a worker for these queues, on this host, with this home."""
    home = hashlib.sha256(str(settings.home).encode()).hexdigest()[:8]
    return f"{socket.gethostname()}:{home}:{'+'.join(queues)}"


def _claim_name(settings: Settings, queues: Sequence[str]) -> IO[str]:
    """An open, locked file whose name is the worker's.

    Whoever gets the lock knows that the process that had this name before is dead (the system released its lock), so
    that process's leases may be released. A second live worker for the same queues gets another name.
    """
    folder = settings.home / "workers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    base = default_worker_name(settings, queues)
    number = 1
    while True:
        name = base if number == 1 else f"{base}.{number}"
        file = open_private(folder / f"{name}.lock", "a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            file.close()
            number += 1
