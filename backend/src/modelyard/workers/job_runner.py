"""Runs claimed jobs: renews the lease, passes on pause and cancel, records the end."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from modelyard.core.database import Database, DatabaseChanges, get_database
from modelyard.core.errors import DatabaseUnavailable, ModelyardError, OutOfMemory, StorageError
from modelyard.core.queues import Queue
from modelyard.core.settings import get_settings
from modelyard.core.storage import storage_errors
from modelyard.core.stored_text import clean_text
from modelyard.models import Job, JobControl, JobKind, JobState
from modelyard.services.jobs.control import JobCancelled, JobPaused, JobProgress
from modelyard.services.jobs.job_service import JobService, LeaseLost
from modelyard.services.settings_service import SettingsService
from modelyard.workers import websocket_emitter
from modelyard.workers.celery_app import stopping

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_HEARTBEAT_SECONDS = 0.4
MAX_REQUEST_ATTEMPTS = 2
MAX_QUANTIZE_ATTEMPTS = 5
_WITH_A_MODEL = (JobKind.QUANTIZE, JobKind.MERGE, JobKind.EVALUATE_SAE, JobKind.BUILD_FEATURES, JobKind.CAPTURE)
MAX_JOB_ATTEMPTS = 100
"""A job that was given up by so many workers is what ends them, for want of memory most likely."""

RETRY_SECONDS = 0.5
"""Between two attempts to write what has to be written, while the database is away."""

REQUEST_HEARTBEAT_SECONDS = 0.1
"""Heartbeat interval for interactive jobs."""

RESULT_PAUSE = 19
"""After a result so far is written, none is for so many times the time that took: a long one is written less often."""


class RequestStopped(Exception):
    """The work of a request ended early: it was cancelled, or this worker stops."""


class RunningJob:
    """A job as its work sees it. `report` and `control` return at once; a thread uses the database."""

    def __init__(self, database: Database, job: Job, *, interval_seconds: float = MAX_HEARTBEAT_SECONDS) -> None:
        self.id, self.kind, self.subject_id, self.owner = job.id, job.kind, job.subject_id, job.owner or ""
        self.job = job
        self.lost = False
        self.database = database
        self._progress: JobProgress | None = None
        self._result: Callable[[], dict[str, Any]] | None = None
        self._news = threading.Event()
        self._renew_seconds = get_settings().lease_seconds / 6
        self._interval = min(interval_seconds, self._renew_seconds)
        self._control = job.control
        self._ended = threading.Event()

    def report(self, progress: JobProgress) -> None:
        self._progress = progress

    def publish(self, result: Callable[[], dict[str, Any]]) -> None:
        """Make a result so far known: the first at once, others with a heartbeat. `result` returns it as it is then."""
        is_first = self._result is None
        self._result = result
        if is_first:
            self._news.set()

    def control(self) -> JobControl:
        """Return what to do; PAUSE also if this worker stops or has lost the job, so that finished work is kept."""
        return JobControl.PAUSE if self.lost or stopping.is_set() else self._control

    def flush(self) -> None:
        """Publish the last progress now. Raises LeaseLost."""
        self._send(self._progress, None)

    @property
    def wanted(self) -> JobControl:
        """Return what the user requested, whatever this worker does."""
        return self._control

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        thread = threading.Thread(target=self._send_heartbeats, name=f"heartbeat-{self.id[:8]}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._news.set()
            thread.join()

    def _send_heartbeats(self) -> None:
        with closing(DatabaseChanges(self.database)) as changes:
            self._beat(changes)

    def _beat(self, changes: DatabaseChanges) -> None:
        """Write what is new, and the lease in time; between that only look whether the job is still wanted."""
        sent_progress, sent_result, next_result = None, None, 0.0
        renew_at = time.monotonic() + self._renew_seconds
        while True:
            self._news.wait(self._interval)
            self._news.clear()
            if self._ended.is_set():
                return
            progress, result, began = self._progress, self._result, time.monotonic()
            is_due = result is not sent_result and began >= next_result
            try:
                if progress is sent_progress and not is_due and began < renew_at:
                    if changes.any():
                        self._look()
                    continue
                self._send(
                    None if progress is sent_progress else progress,
                    result() if is_due and result is not None else None,
                )
                sent_progress, renew_at = progress, began + self._renew_seconds
                if is_due:
                    sent_result, now = result, time.monotonic()
                    next_result = now + RESULT_PAUSE * (now - began)
            except LeaseLost:
                self.lost = True
                return
            except DatabaseUnavailable:
                changes.close()  # what was not read is a change the next time
                continue  # The database itself tells of an outage; the work goes on meanwhile.
            except Exception:
                logger.warning("Heartbeat of job %s failed", self.id, exc_info=True)

    def _look(self) -> None:
        with self.database.reading() as session:
            self._control = JobService(session).control_of(self.id, self.owner)

    def _send(self, progress: JobProgress | None, result: dict[str, Any] | None) -> None:
        self._control = websocket_emitter.emit_model_download_progress(
            self.database, self.id, self.owner, progress, result
        )


def owner_name() -> str:
    """Return the name of this worker process, with which the owner of each of its jobs begins."""
    return os.environ["MODELYARD_WORKER_NAME"]


@dataclass(frozen=True)
class Endings:
    """Functions that write the end of a job into it and into its row; they may raise LeaseLost.

    Each gets the database, the ids of the job, its owner and the row, and what the parameter's name says.
    """

    completed: Callable[[Database, str, str, str, JobKind], None]
    failed: Callable[[Database, str, str, str, dict[str, Any]], None]
    paused: Callable[[Database, str, str, str, dict[str, Any] | None], None]
    """By the user, or for the reason given."""
    cancelled: Callable[[Database, str, str, str, JobKind], None]


MODEL_ENDINGS = Endings(
    completed=websocket_emitter.emit_model_download_completed,
    failed=websocket_emitter.emit_model_download_failed,
    paused=websocket_emitter.emit_model_download_paused,
    cancelled=websocket_emitter.emit_model_download_cancelled,
)


def persistently(write: Callable[[], Result]) -> Result:
    """Call `write`, which needs only the database, and retry while the database is away.

    Raises DatabaseUnavailable when this worker stops meanwhile: the job's lease runs out, or the next process of this
    worker's name releases it.
    """
    while True:
        try:
            return write()
        except DatabaseUnavailable:
            if stopping.wait(RETRY_SECONDS):
                raise


def run_job(job_id: str, work: Callable[[RunningJob], None], endings: Endings = MODEL_ENDINGS) -> None:
    """Claim a job and do its work; returns at once if another worker has it or the queue is at its limit."""
    database = get_database()
    try:
        job, limit = persistently(lambda: _claim(database, job_id))
        if job is None:
            return
        try:
            running = RunningJob(database, job)
            # Its end as well: to look at all files, or to remove them, may outlast a lease.
            with running.heartbeats():
                _write_end(running, _work(running, work, endings), partial(_fail, running, endings))
        except LeaseLost:
            logger.warning("Job %s was taken over by another worker", job_id)
        finally:
            persistently(lambda: _wake_next(database, job.queue, limit))
    except DatabaseUnavailable:
        logger.info("Job %s is left to the next worker: the database is away and this one stops", job_id)


def _claim(database: Database, job_id: str) -> tuple[Job | None, int]:
    """Claim the job; return it, None if it cannot be claimed, and how many jobs of its queue may run at once."""
    with database.session() as session:
        jobs = JobService(session)
        limit = _parallel(session, jobs.queue_of(job_id))
        return jobs.claim(job_id, owner_name(), parallel=limit), limit


def _wake_next(database: Database, queue: str, limit: int) -> None:
    with database.session() as session:
        order = SettingsService(session).transfers().download_order
        JobService(session).wake_next(queue, limit, order)


def run_request(
    job_id: str,
    work: Callable[[RunningJob], dict[str, Any]],
    *,
    on_failure: Callable[[str, dict[str, Any]], None] | None = None,
) -> None:
    """Claim a short job whose caller waits for the result; unlike `run_job`, this does not change the model's row.

    `on_failure` gets the row's id and the error, before the job has ended. Work that raises RequestStopped is cancelled
    if the user wanted that, and otherwise left to the next worker.
    """
    database = get_database()
    try:
        job = persistently(lambda: _claim_request(database, job_id))
        if job is not None:
            running = RunningJob(database, job, interval_seconds=REQUEST_HEARTBEAT_SECONDS)
            _write_end(running, _serve(running, work, on_failure), partial(_fail_request, running))
    except LeaseLost:
        logger.warning("Job %s was taken over by another worker", job_id)
    except DatabaseUnavailable:
        logger.info("Job %s is left to the next worker: the database is away and this one stops", job_id)


def _claim_request(database: Database, job_id: str) -> Job | None:
    with database.session() as session:
        return JobService(session).claim(job_id, owner_name())


def _serve(
    running: RunningJob,
    work: Callable[[RunningJob], dict[str, Any]],
    on_failure: Callable[[str, dict[str, Any]], None] | None,
) -> Callable[[], None]:
    """Do the work of a request; returns a function that records its end, which may be called more than once."""
    result, error, requeue = None, None, False
    try:
        _refuse_deadly(running.job, MAX_REQUEST_ATTEMPTS)
        with running.heartbeats(), storage_errors():
            result = work(running)
    except RequestStopped:
        requeue = running.wanted is not JobControl.CANCEL
    except DatabaseUnavailable:
        requeue = True
    except ModelyardError as problem:
        error = problem.as_dict()
    except Exception as problem:
        error = _unexpected(problem)
        logger.exception("Job %s failed", running.id)
    state = JobState.DONE if result is not None else JobState.FAILED if error else JobState.CANCELLED

    def write() -> None:
        if error is not None and on_failure is not None:
            on_failure(running.subject_id, error)
        with running.database.session() as session:
            if requeue:
                JobService(session).requeue(running.id, running.owner)
            else:
                JobService(session).finish(running.id, running.owner, state, error=error, result=result)

    return write


def _parallel(session: Session, queue: str) -> int:
    """Return how many jobs of a queue run at once: downloads as set, quantizations and training runs one by one."""
    return SettingsService(session).transfers().parallel_downloads if queue == Queue.DOWNLOADS else 1


def _work(running: RunningJob, work: Callable[[RunningJob], None], endings: Endings) -> Callable[[], None]:
    """Do the work; returns a function that records its end, which may be called more than once. Raises LeaseLost."""
    key = (running.database, running.id, running.owner, running.subject_id)
    try:
        with_a_model = running.kind in _WITH_A_MODEL
        _refuse_deadly(running.job, MAX_QUANTIZE_ATTEMPTS if with_a_model else MAX_JOB_ATTEMPTS)
        with storage_errors():
            work(running)
    except JobPaused:
        if running.lost:
            raise LeaseLost(running.id) from None
        return partial(_write_pause, running, endings)
    except JobCancelled:
        return partial(endings.cancelled, *key, running.kind)
    except StorageError as error:
        # Not lost and not failed: maintenance resumes it once the disk is mended.
        logger.warning("Job %s waits for a disk: %s", running.id, clean_text(error.message))
        return partial(endings.paused, *key, error.as_dict())
    except DatabaseUnavailable:
        return partial(_requeue, running)
    except LeaseLost:
        raise
    except ModelyardError as error:
        logger.warning("Job %s failed: %s", running.id, clean_text(error.message))
        return partial(endings.failed, *key, error.as_dict())
    except Exception as error:
        logger.exception("Job %s failed", running.id)
        return partial(endings.failed, *key, _unexpected(error))
    return partial(_write_completed, running, endings)


def _write_end(running: RunningJob, write: Callable[[], None], fail: Callable[[dict[str, str]], None]) -> None:
    """Record how the work ended or, if that fails, that the job failed for this reason.

    Otherwise its lease would end, and the next worker would do the same again.
    """
    try:
        persistently(write)
    except (LeaseLost, DatabaseUnavailable):
        raise
    except Exception as error:
        logger.exception("The end of job %s cannot be written", running.id)
        unwritten = _unexpected(error)
        unwritten["message"] = f"The work ended, but its outcome could not be written ({type(error).__name__})."
        persistently(partial(fail, unwritten))


def _fail(running: RunningJob, endings: Endings, error: dict[str, str]) -> None:
    endings.failed(running.database, running.id, running.owner, running.subject_id, error)


def _fail_request(running: RunningJob, error: dict[str, str]) -> None:
    with running.database.session() as session:
        JobService(session).finish(running.id, running.owner, JobState.FAILED, error=error)


def _write_completed(running: RunningJob, endings: Endings) -> None:
    running.flush()
    endings.completed(running.database, running.id, running.owner, running.subject_id, running.kind)


def _write_pause(running: RunningJob, endings: Endings) -> None:
    """Record a requested pause; otherwise requeue the job, because this worker stops."""
    running.flush()
    if running.wanted is JobControl.PAUSE:
        endings.paused(running.database, running.id, running.owner, running.subject_id, None)
    else:
        _requeue(running)


def _requeue(running: RunningJob) -> None:
    with running.database.session() as session:
        JobService(session).requeue(running.id, running.owner)


def _refuse_deadly(job: Job, limit: int) -> None:
    """Raise OutOfMemory if more than `limit` workers have died of the job."""
    if job.attempts > limit:
        raise OutOfMemory(
            f"{limit} workers died while they were at this; most likely the machine ran out of memory.",
            hint="Free memory, choose a smaller precision or another device, then ask again.",
        )


def _unexpected(error: Exception) -> dict[str, str]:
    return {
        "code": "internal_error",
        "message": f"The work stopped on an unexpected {type(error).__name__}.",
        "hint": f"Details are in {get_settings().logs_folder} of the worker's machine; retry once that is mended.",
    }
