"""Waking workers. The `jobs` table is the truth; a message carries only a job's id and may be lost or sent twice.

Celery is imported with the first message, not with this module, because it would slow the start of the API.
"""

import atexit
import logging
import threading
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from modelyard.core.broker import CONNECT_SECONDS, broker_options
from modelyard.core.queues import QUEUES
from modelyard.core.settings import Settings, get_settings

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection, Queue

logger = logging.getLogger(__name__)

_EXCHANGE = "modelyard"
_COLLECTED = "modelyard.wakeups"

MAX_WAITING = 10_000
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 2.0
AT_EXIT_SECONDS = 1.0


def create_celery(settings: Settings) -> "Celery":
    """Return a Celery app for this instance's broker. It has no result backend: results are in the database."""
    from celery import Celery
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES.update(
        safefs="modelyard.workers.broker.safe_filesystem:Transport",
        redis="modelyard.workers.broker.safe_redis:Transport",
        rediss="modelyard.workers.broker.safe_redis:Transport",
        sentinel="modelyard.workers.broker.safe_redis:SentinelTransport",
    )
    url, options = broker_options(settings)
    app = Celery("modelyard", broker=url)
    app.conf.update(
        broker_transport_options=options,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        task_queues=[declared(name) for name in QUEUES],
        task_default_queue=QUEUES[0],
        task_default_exchange=_EXCHANGE,
        task_default_routing_key=QUEUES[0],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        worker_consumer="modelyard.workers.broker.consumer:Consumer",
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


@lru_cache
def get_celery() -> "Celery":
    return create_celery(get_settings())


def send_wakeup(queue: str, task_name: str, job_id: str, connection: "Connection | None" = None) -> None:
    """Tell the workers of `queue` that a job waits. Raises the broker's client's errors when it cannot be reached."""
    app = get_celery()
    if queue not in app.amqp.queues:  # a worker's own queue
        app.amqp.queues.add(declared(queue))
    app.send_task(task_name, args=[job_id], queue=queue, retry=False, connection=connection)


def declared(queue: str) -> "Queue":
    """Return a queue as the broker is told of it."""
    from kombu import Exchange, Queue

    return Queue(queue, Exchange(_EXCHANGE, type="direct"), routing_key=queue)


def wake_after_commit(session: Session, queue: str, task_name: str, job_id: str) -> None:
    """Send a wake-up once the session's transaction has committed; never if it is rolled back."""
    session.info.setdefault(_COLLECTED, []).append((queue, task_name, job_id))


class Outbox:
    """Wake-ups on their way to the broker, sent in order by a thread of its own.

    So no request waits for a broker that is frozen or away, and what could not be sent is sent when it is back. What is
    lost with this process, the reconciler sends again.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._waiting: dict[tuple[str, str, str], None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, queue: str, task_name: str, job_id: str) -> None:
        """Have a wake-up sent soon. One that waits already is not sent twice."""
        with self._changed:
            self._waiting[queue, task_name, job_id] = None
            while len(self._waiting) > MAX_WAITING:
                del self._waiting[next(iter(self._waiting))]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()
                atexit.register(self.flush, AT_EXIT_SECONDS)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, at most so long; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def _run(self) -> None:
        away_since: float | None = None
        pause = FIRST_RETRY_SECONDS
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                wakeup = next(iter(self._waiting))
            try:
                self._send(wakeup)
            except Exception as error:  # noqa: BLE001 - every transport has errors of its own, some of them undocumented
                if away_since is None:
                    away_since = time.monotonic()
                    logger.warning("The queue cannot be reached, jobs wait until it can: %s", error)
                with self._changed:  # to the end, so that no other waits for it
                    if wakeup in self._waiting:
                        self._waiting[wakeup] = self._waiting.pop(wakeup)
                time.sleep(pause)
                pause = min(LONGEST_RETRY_SECONDS, pause * 2)
                continue
            if away_since is not None:
                logger.warning("The queue can be reached again, after %.1f s", time.monotonic() - away_since)
            away_since, pause = None, FIRST_RETRY_SECONDS
            with self._changed:
                self._waiting.pop(wakeup, None)
                self._changed.notify_all()

    def _send(self, wakeup: tuple[str, str, str]) -> None:
        connection = self._connection = self._connection or get_celery().connection_for_write()
        try:
            send_wakeup(*wakeup, connection)
        except Exception:
            # A new connection declares its queues anew, which a broker that was restarted may have forgotten.
            self._connection = None
            with suppress(Exception):
                connection.close()
            raise


outbox = Outbox()
"""This process's."""


@event.listens_for(Session, "after_commit")
def _send_collected(session: Session) -> None:
    # A savepoint's commit comes here too. (If it is rolled back instead, its wake-ups are sent for jobs that do not
    # exist, which workers ignore.)
    if session.in_nested_transaction():
        return
    for wakeup in session.info.pop(_COLLECTED, ()):
        outbox.put(*wakeup)


@event.listens_for(Session, "after_transaction_end")
def _drop_collected(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_COLLECTED, None)
