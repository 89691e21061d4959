"""The Celery app of the workers, and how a worker runs."""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.signals import setup_logging, worker_shutting_down

from modelyard.core import locks
from modelyard.core.errors import InvalidRequest
from modelyard.core.queue import declared, get_celery
from modelyard.core.queues import QUEUES, Queue, worker_queue
from modelyard.core.settings import Settings, get_settings

if TYPE_CHECKING:
    from celery import Celery

CONCURRENCY = {Queue.DOWNLOADS: 16, Queue.COMPUTE: 3, Queue.INFERENCE: 64}
"""How many jobs of a queue one worker process can run at a time; settings may allow fewer. Of `compute` that is one
quantization and one training run, and a thread that finds out that a third job has to wait. Of `inference` they are
generations, which share a model; loads go one by one."""

TASK_MODULES = (
    "modelyard.workers.lifecycle",
    "modelyard.workers.model_tasks",
    "modelyard.workers.inference_tasks",
    "modelyard.workers.activation_tasks",
    "modelyard.workers.training_tasks",
    "modelyard.workers.sae_tasks",
    "modelyard.workers.bundle_tasks",
)
"""Imported when a worker starts, not with this module: `worker_init` and `worker_ready` handlers and the tasks."""

celery_app = get_celery()
celery_app.conf.include = TASK_MODULES

stopping = threading.Event()
"""Set when this process has been told to stop; running jobs check it with every heartbeat and go back to the queue."""


def restart_process() -> None:
    """Let running jobs end, then end this process, so that the supervisor starts a new one."""
    os.kill(os.getpid(), signal.SIGTERM)


def _on_shutting_down(**_signal: Any) -> None:
    stopping.set()


def _keep_our_logging(**_signal: Any) -> None:
    """Keep our logging: Celery configures its own unless this signal has a listener."""


worker_shutting_down.connect(_on_shutting_down)
setup_logging.connect(_keep_our_logging)


def run_worker(queues: Sequence[str], *, concurrency: int | None = None, app: "Celery | None" = None) -> int:
    """Work on `queues` in this process until SIGINT or SIGTERM, then let running jobs end; return the exit code.

    `concurrency` is the number of threads; by default what `CONCURRENCY` says for the queues together. Logging is the
    caller's (`process.configure_logging`). While the worker runs, `MODELYARD_WORKER_NAME` in this process's
    environment is the name jobs are leased under. The supervisor starts a worker again that ends, after
    `restart_process` too. Raises InvalidRequest for an unknown queue.
    """
    for queue in queues:
        if queue not in QUEUES:
            raise InvalidRequest(f"There is no queue {queue!r}.", hint=f"The queues are {', '.join(QUEUES)}.")
    with _claimed_name(get_settings(), queues) as name:
        os.environ["MODELYARD_WORKER_NAME"] = name
        host, _, rest = name.partition(":")
        app, own_queue = app or celery_app, worker_queue(name)
        app.amqp.queues.add(declared(own_queue))
        worker = app.Worker(
            hostname=f"{rest}@{host}",
            queues=[*queues, own_queue],
            pool="threads",
            concurrency=concurrency or sum(CONCURRENCY[Queue(queue)] for queue in queues),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
    return worker.exitcode or 0


@contextmanager
def _claimed_name(settings: Settings, queues: Sequence[str]) -> Iterator[str]:
    """Return a name that no other live process has: `host:instance:queues` or `host:instance:queues.2`.

    The name is held by a locked file in the home. The process that gets the lock knows that the previous holder is dead
    (the system released its lock), so its leases may be released. This holds for processes that see the same file and
    share locks. So `instance` has a random id stored beside the lock, which distinguishes two homes at the same path,
    and the id of the running system, which distinguishes machines that share a home on a network disk without locks.
    """
    folder = settings.home / "workers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    instance = f"{locks.folder_id(folder)}-{locks.machine_id()}"
    host, number = socket.gethostname(), 1
    while True:
        name = "+".join(queues) + ("" if number == 1 else f".{number}")
        try:
            with locks.held(folder / f"{host}:{name}.lock"):
                yield f"{host}:{instance}:{name}"
                return
        except locks.Held:
            number += 1
