"""What the API process sees to while it runs: jobs that should run do, rows tell the truth about the disk."""

import asyncio
import logging
import time

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.core.settings import get_settings
from modelyard.services.architecture_service import local_checkpoint
from modelyard.services.job_service import JobService
from modelyard.services.memory_service import EXACT_SECONDS, MemoryService
from modelyard.services.model_service import ModelService, finish_deletion

logger = logging.getLogger(__name__)

MAX_INTERVAL_SECONDS = 5.0
FILES_CHECK_SECONDS = 10.0
REQUESTS_KEPT_SECONDS = 3600.0


async def maintain(database: Database) -> None:
    """Until cancelled."""
    interval = min(MAX_INTERVAL_SECONDS, get_settings().lease_seconds / 3)
    files_checked = 0.0
    while True:
        try:
            await asyncio.to_thread(reconcile_jobs, database)
            if time.monotonic() - files_checked >= FILES_CHECK_SECONDS:
                await asyncio.to_thread(check_files, database)
                files_checked = time.monotonic()
        except Exception:
            logger.exception("Maintenance failed, trying again")
        await asyncio.sleep(interval)


async def refine_estimates(database: Database) -> None:
    """Until cancelled: models that became ready get their exact memory figure."""
    tried: set[str] = set()
    while True:
        try:
            await asyncio.to_thread(estimate_exactly, database, tried)
        except Exception:
            logger.exception("Exact estimates failed, trying again")
        await asyncio.sleep(MAX_INTERVAL_SECONDS)


def reconcile_jobs(database: Database) -> None:
    with database.session() as session:
        jobs = JobService(session)
        woken = jobs.reconcile()
        jobs.forget_requests(REQUESTS_KEPT_SECONDS)
    if woken:
        logger.info("Sent %d wake-ups again", woken)


def estimate_exactly(database: Database, tried: set[str]) -> None:
    """Replace the approximate memory of models that became ready, once; `tried` remembers rows that were asked for."""
    with database.reading() as session:
        ready = ModelService(session).list_ready()
    memory = MemoryService(database)
    for row in ready:
        if row.memory_method == "exact" or row.id in tried:
            continue
        tried.add(row.id)
        try:
            checkpoint = local_checkpoint(row)
        except ModelyardError as error:
            logger.info("%s keeps its approximate estimate: %s", row.model_id, error.message)
            continue
        weights = memory.options(checkpoint, seconds=EXACT_SECONDS).get(row.quantization.value)
        if weights is not None:
            with database.session() as session:
                found = ModelService(session).get_by_id(row.id)
                found.memory_estimated_bytes, found.memory_method = weights, "exact"


def check_files(database: Database) -> None:
    with database.reading() as session:
        half_deleted = ModelService(session).half_deleted()
    for row_id in half_deleted:
        finish_deletion(database, row_id)
    # Looking at every file takes a while, during which workers must be able to write.
    with database.reading() as session:
        anything = bool(ModelService(session).with_changed_files())
    with database.session() as session:
        models = ModelService(session)
        changed = models.mark_missing_files() if anything else 0
        resumed = models.resume_where_room()
    if changed:
        logger.warning("The files of %d models vanished or came back", changed)
    if resumed:
        logger.warning("There is room on the disk again: %d downloads go on", resumed)
