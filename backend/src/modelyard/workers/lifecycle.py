"""What a worker does when it starts and while it lives: take over from its dead predecessor, say that it is alive."""

import logging
import os
import socket
import threading
from typing import Any

from celery.signals import worker_ready

from modelyard.core import migrate
from modelyard.core.database import Database, get_database, utc_now
from modelyard.core.errors import DatabaseUnavailable
from modelyard.core.queue import QUEUES
from modelyard.models import Worker
from modelyard.services.job_service import JobService
from modelyard.workers.celery_app import stopping
from modelyard.workers.inference_tasks import forget_loaded
from modelyard.workers.job_runner import owner_name
from modelyard.workers.predecessor import died_for_memory, end_starved, note_oom_kills

logger = logging.getLogger(__name__)

SEEN_SECONDS = 5.0


@worker_ready.connect
def _on_ready(sender: Any, **_signal: Any) -> None:
    database, name = get_database(), owner_name()
    # On several machines a worker may start before the API has brought the tables up to date.
    migrate.upgrade(database)
    queues = ",".join(sorted(set(QUEUES) & set(sender.app.amqp.queues.consume_from)))
    # Before the unloads of it are dropped, or whoever waits for one would see it loaded still.
    forget_loaded(name)
    if died_for_memory(name):
        starved = end_starved(database, name)
        logger.warning("Memory ran out when the last worker of this name died; jobs ended: %d", starved)
    note_oom_kills(name)
    with database.session() as session:
        jobs = JobService(session)
        freed = jobs.release_owner(name)
        jobs.drop_unloads(name)
        session.merge(
            Worker(
                name=name,
                host=socket.gethostname(),
                pid=os.getpid(),
                queues=queues,
                started_at=utc_now(),
                seen_at=utc_now(),
            )
        )
    if freed:
        logger.warning("The last worker of this name died at its work; jobs taken up: %d", freed)
    threading.Thread(target=_keep_seen, args=(database, name), name="seen", daemon=True).start()


def _keep_seen(database: Database, name: str) -> None:
    while not stopping.wait(SEEN_SECONDS):
        try:
            note_oom_kills(name)
            with database.session() as session:
                worker = session.get(Worker, name)
                if worker is not None:
                    worker.seen_at = utc_now()
        except DatabaseUnavailable:
            continue
        except Exception:
            logger.warning("Cannot write that this worker is alive", exc_info=True)
