"""End a worker whose folders are not its API's, before it takes a job."""

import os
import sys
import threading
from collections.abc import Collection

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.core.process import EXIT_CONFIGURATION
from modelyard.services.shared_folders import FoldersNotShared, require_shared_folders
from modelyard.workers.celery_app import stopping
from modelyard.workers.job_runner import persistently

RETRY_SECONDS = 2.0


def require_folders(database: Database, queues: Collection[str]) -> None:
    """End this process unless it sees the folders of its API. An API that has never started is waited for meanwhile."""
    if not persistently(lambda: _compare(database, queues)):
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
