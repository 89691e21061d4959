"""End a worker whose folders are not its API's, before it takes a job."""

import os
import sys
import threading
from collections.abc import Collection
from typing import Any

from celery.signals import worker_init

from modelyard.core.database import Database, get_database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.core.process import EXIT_CONFIGURATION
from modelyard.core.queue import QUEUES
from modelyard.services.shared_folders import FoldersNotShared, require_shared_folders
from modelyard.workers.celery_app import stopping

RETRY_SECONDS = 2.0


@worker_init.connect
def _on_init(sender: Any, **_signal: Any) -> None:
    """Wait for a database that is away; an API that has never started is waited for beside the work."""
    database, queues = get_database(), set(QUEUES) & set(sender.app.amqp.queues.consume_from)
    known = False
    while not stopping.is_set():
        try:
            known = _compare(database, queues)
            break
        except DatabaseUnavailable:
            stopping.wait(RETRY_SECONDS)
    if not known:
        threading.Thread(target=_compare_later, args=(database, queues), name="folders", daemon=True).start()


def _compare_later(database: Database, queues: Collection[str]) -> None:
    while not stopping.wait(RETRY_SECONDS):
        try:
            if _compare(database, queues):
                return
        except DatabaseUnavailable:
            continue


def _compare(database: Database, queues: Collection[str]) -> bool:
    try:
        return require_shared_folders(database, queues)
    except FoldersNotShared as error:
        # The supervisor shows the last line of the log. Celery would only log what a handler raises.
        print(f"This worker cannot run: {error.message} {error.hint}", file=sys.stderr, flush=True)
        os._exit(EXIT_CONFIGURATION)
