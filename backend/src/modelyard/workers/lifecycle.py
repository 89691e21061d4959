"""The life of a worker: it takes over from its dead predecessor and reports that it is alive."""

import logging
import os
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from celery.bootsteps import StartStopStep
from celery.signals import worker_init, worker_shutdown
from sqlalchemy import delete
from sqlalchemy.orm import Session

from modelyard.core import migrate
from modelyard.core.database import Database, database_now, get_database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.core.queues import QUEUES, Queue, with_served
from modelyard.models import Worker
from modelyard.services.inference.loaded_models import LoadedModels
from modelyard.services.jobs.job_service import JobService
from modelyard.workers.celery_app import celery_app, stopping
from modelyard.workers.host_speed import measure_when_idle
from modelyard.workers.job_runner import owner_name, persistently
from modelyard.workers.processes.predecessor import died_for_memory, end_starved, note_oom_kills
from modelyard.workers.shared_folders import require_folders

logger = logging.getLogger(__name__)

SEEN_SECONDS = 5.0
REMEMBERED_SECONDS = 86_400.0
"""Workers that were not seen for longer are no longer listed."""

MAX_WOKEN = 20
"""Jobs of a queue; each that ends wakes the next ones."""


@worker_init.connect
def _before_the_first_message(sender: Any, **_signal: Any) -> None:
    """Wait for the database, make sure that this worker sees its API's folders, then register.

    A worker that takes messages already has jobs of its own, which must not be released with its predecessor's.
    """
    database, name = get_database(), owner_name()
    queues = ",".join(sorted(set(QUEUES) & set(sender.app.amqp.queues.consume_from)))
    # On several machines a worker may start before the API has brought the tables up to date.
    persistently(lambda: migrate.upgrade(database))
    require_folders(database, queues.split(","))
    # Before the unloads of it are dropped, or whoever waits for one would see it loaded still.
    persistently(LoadedModels(database, name).forget)
    if died_for_memory(name):
        starved = persistently(lambda: end_starved(database, name))
        logger.warning("Memory ran out when the last worker of this name died; jobs ended: %d", starved)
    note_oom_kills(name)
    started_at = persistently(lambda: _take_over(database, name, queues))
    arguments = (database, name, queues, started_at)
    threading.Thread(target=_keep_seen, args=arguments, name="seen", daemon=True).start()
    if Queue.INFERENCE in queues.split(","):
        idle = (database, name, queues.split(","))
        threading.Thread(target=measure_when_idle, args=idle, name="host speed", daemon=True).start()


@worker_shutdown.connect
def _after_the_last_job(**_signal: Any) -> None:
    """Record that nothing is loaded here any more, which otherwise only the next worker of this name would do."""
    with suppress(DatabaseUnavailable):  # then the leases end by themselves
        LoadedModels(get_database(), owner_name()).forget()


class LookForWork(StartStopStep):
    """Wakes waiting jobs after every connection to the broker, which may have lost their messages."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        queues = set(QUEUES) & set(consumer.app.amqp.queues.consume_from)
        threading.Thread(target=_wake_waiting, args=(queues,), name="look for work", daemon=True).start()


celery_app.steps["consumer"].add(LookForWork)


def _wake_waiting(queues: Iterable[str]) -> None:
    def wake() -> None:
        with get_database().session() as session:
            for queue in with_served(queues):
                JobService(session).wake_next(queue, MAX_WOKEN)

    with suppress(DatabaseUnavailable):  # this worker stops
        persistently(wake)


def _take_over(database: Database, name: str, queues: str) -> datetime:
    """Register under a name and release the leases of the last process of that name. Returns the time."""
    with database.session() as session:
        now = database_now(session)
        jobs = JobService(session)
        freed = jobs.release_owner(name)
        jobs.drop_unloads(name)
        session.execute(delete(Worker).where(Worker.seen_at < now - timedelta(seconds=REMEMBERED_SECONDS)))
        _write_seen(session, name, queues, now)
    if freed:
        logger.warning("The last worker of this name died at its work; jobs taken up: %d", freed)
    return now


def _keep_seen(database: Database, name: str, queues: str, started_at: datetime) -> None:
    while not stopping.wait(SEEN_SECONDS):
        try:
            note_oom_kills(name)
            with database.session() as session:
                _write_seen(session, name, queues, started_at)
        except DatabaseUnavailable:
            continue
        except Exception:
            logger.warning("Cannot write that this worker is alive", exc_info=True)


def _write_seen(session: Session, name: str, queues: str, started_at: datetime) -> None:
    """Write the whole row, so that a working worker is listed even if the database lost its row."""
    seen_at = database_now(session)
    row = Worker(name=name, host=socket.gethostname(), pid=os.getpid(), queues=queues)
    row.started_at, row.seen_at = started_at, seen_at
    session.merge(row)
