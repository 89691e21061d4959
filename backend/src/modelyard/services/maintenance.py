"""What the API process sees to while it runs: jobs that should run do, rows tell the truth about the disk."""

import asyncio
import logging
import time

from modelyard.core.database import Database
from modelyard.core.errors import (
    Conflict,
    DatabaseUnavailable,
    HubRateLimited,
    HubUnreachable,
    ModelyardError,
    StorageError,
)
from modelyard.core.settings import get_settings
from modelyard.services.architecture_service import local_checkpoint
from modelyard.services.deletion_log import DeletionLog
from modelyard.services.facts.model_facts import store_figures
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.memory_service import EXACT_SECONDS, MemoryService
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.kinds import REQUESTS, WITH_TEXTS
from modelyard.services.model_actions import finish_removal
from modelyard.services.model_files import FilesDiffer, changed_files
from modelyard.services.model_service import ModelService
from modelyard.services.storage_service import StorageService, resumable
from modelyard.services.training.actions import remove_training_files
from modelyard.services.training.training_service import TrainingService
from modelyard.services.update_service import UpdateService

logger = logging.getLogger(__name__)

MAX_INTERVAL_SECONDS = 5.0
LATE_INTERVAL_SECONDS = 2.0
FILES_CHECK_SECONDS = 10.0
FILES_CHECK_SHARE = 0.05
"""Of the time that looking at files may take: with very many of them it is done less often."""
REQUESTS_KEPT_SECONDS = 3600.0
TEXTS_KEPT_SECONDS = 300.0
"""Their caller reads them within moments; a busy server has gigabytes of them in an hour."""
UPDATE_ROUND_SECONDS = 60.0
UPDATE_PATIENCE_SECONDS = 900.0
"""Before a Hub that did not answer is asked for newer versions again."""


async def maintain(database: Database) -> None:
    """Until cancelled."""
    interval = min(MAX_INTERVAL_SECONDS, get_settings().lease_seconds / 3)
    check_at = 0.0
    stuck: set[str] = set()
    while True:
        try:
            await asyncio.to_thread(reconcile_jobs, database)
            begun = time.monotonic()
            if begun >= check_at:
                await asyncio.to_thread(check_files, database, stuck)
                ended = time.monotonic()
                check_at = ended + max(FILES_CHECK_SECONDS, (ended - begun) / FILES_CHECK_SHARE)
        except DatabaseUnavailable:
            pass  # The database itself tells of an outage, once; the next round comes soon.
        except Exception:
            logger.exception("Maintenance failed, trying again")
        await asyncio.sleep(interval)


async def refine_estimates(database: Database) -> None:
    """Until cancelled: models that became ready get their exact memory figure."""
    tried: set[str] = set()
    while True:
        try:
            await asyncio.to_thread(estimate_exactly, database, tried)
        except DatabaseUnavailable:
            pass
        except Exception:
            logger.exception("Exact estimates failed, trying again")
        await asyncio.sleep(MAX_INTERVAL_SECONDS)


async def answer_late(database: Database) -> None:
    """Until cancelled: what the inspector had no time for is answered when it has."""
    inspections = InspectionService(database)
    while True:
        try:
            while await asyncio.to_thread(inspections.answer_late):
                pass
        except DatabaseUnavailable:
            pass
        except Exception:
            logger.exception("Late answers failed, trying again")
        await asyncio.sleep(LATE_INTERVAL_SECONDS)


async def watch_updates(database: Database) -> None:
    """Until cancelled: ready models learn whether their Hub has a newer version."""
    updates = UpdateService(database)
    wait = UPDATE_ROUND_SECONDS
    while True:
        await asyncio.sleep(wait)
        wait = UPDATE_ROUND_SECONDS
        try:
            for branch in await asyncio.to_thread(updates.due):
                await asyncio.to_thread(updates.refresh, branch)
        except (HubUnreachable, HubRateLimited) as error:
            logger.info("Newer versions are looked for later: %s", error.message)
            wait = UPDATE_PATIENCE_SECONDS
        except DatabaseUnavailable:
            pass
        except Exception:
            logger.exception("Looking for newer versions failed, trying again")


def reconcile_jobs(database: Database) -> None:
    with database.session() as session:
        jobs = JobService(session)
        woken = jobs.reconcile()
        jobs.forget_requests(REQUESTS, REQUESTS_KEPT_SECONDS)
        jobs.forget_requests(WITH_TEXTS, TEXTS_KEPT_SECONDS)
        DeletionLog(session).forget_old()
    if woken:
        logger.info("Sent %d wake-ups again", woken)


def estimate_exactly(database: Database, tried: set[str]) -> None:
    """Replace the approximate memory of models that became ready, once; `tried` remembers rows that were asked for."""
    with database.reading() as session:
        inexact = ModelService(session).list_inexact()
    memory = MemoryService(database)
    for row in inexact:
        if row.id in tried:
            continue
        tried.add(row.id)
        try:
            checkpoint = local_checkpoint(row)
        except ModelyardError as error:
            logger.info("%s keeps its approximate estimate: %s", row.model_id, error.message)
            continue
        figures = memory.exact(checkpoint, seconds=EXACT_SECONDS)
        if figures is not None:
            with database.session() as session:
                if (model := ModelService(session).find(row.id)) is not None:  # it may be deleted meanwhile
                    store_figures(model, figures)


def check_files(database: Database, stuck: set[str]) -> None:
    """Let rows say what is on the disk; `stuck` remembers the removals that were reported to wait for a disk."""
    with database.reading() as session:
        half_removed = ModelService(session).deletion.half_removed()
        half_removed_runs = TrainingService(session).half_removed()
    for training_id in half_removed_runs:
        try:
            remove_training_files(database, training_id)
        except (StorageError, Conflict) as error:  # the run says so
            logger.warning("A deleted run stays: %s", error.message)
    for row_id in half_removed:
        try:
            finish_removal(database, row_id)
        except StorageError as error:
            if row_id not in stuck:
                logger.warning("Files cannot be removed yet: %s", error.message)
            stuck.add(row_id)
        except Conflict as error:
            logger.warning("Files are not removed: %s", error.message)
    differing = find_changed_files(database)
    with database.reading() as session:
        waiting = StorageService(session).waiting()
        cache = ModelService(session).cache
    may_resume = resumable(waiting, cache)
    with database.session() as session:
        changed = ModelService(session).files.mark_missing(differing) if differing else 0
        resumed = StorageService(session).resume(may_resume)
    if changed:
        logger.warning("The files of %d models vanished or came back", changed)
    if resumed:
        logger.warning("A disk can be used again: resumed %d jobs that waited for it", resumed)


def find_changed_files(database: Database) -> dict[str, FilesDiffer]:
    """Return the rows that the disk contradicts: rows are read a few hundred at a time, and files looked at between."""
    found: dict[str, FilesDiffer] = {}
    after = ""
    while True:
        with database.reading() as session:
            models = ModelService(session)
            rows = models.files.with_manifests(after=after)
        if not rows:
            return found
        found |= changed_files(models.cache, rows)
        after = rows[-1].id
