"""Jobs: claimed, kept alive, steered and finished by single conditional UPDATEs.

Whatever a broker loses, repeats or delays, a job has one owner at a time, because only the database says who owns it.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import and_, case, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from modelyard.core.database import database_now
from modelyard.core.queue import wake_after_commit
from modelyard.core.queues import QUEUE_SERVED_BY, Queue, with_served, worker_queue
from modelyard.core.settings import get_settings
from modelyard.models import EventName, Job, JobControl, JobKind, JobState, Model, Worker
from modelyard.services.jobs.able_workers import require_able_worker
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.history_service import HistoryService
from modelyard.services.jobs.kinds import JOB_QUEUES, NOT_OF_A_MODEL, REQUESTS, TASKS, WITH_TEXTS
from modelyard.services.jobs.payloads import Payload
from modelyard.services.jobs.queries import claimable, is_load, others_running

WAKE_BACKOFF_SECONDS = 30.0
GONE_SECONDS = 600.0
"""A worker that was silent for so long is not waited for; one that was only busy or stopped answers before."""

JobOrder = Literal["oldest_first", "smallest_first"]
_NOT_NOTED = (*NOT_OF_A_MODEL, JobKind.DRIFT, JobKind.EMBED, JobKind.ACTIVATIONS, JobKind.LENS)
"""The history of a model does not mention them: a run has its own, and a comparison changes nothing."""
_ENDS = {
    JobState.DONE: EventName.DONE,
    JobState.FAILED: EventName.FAILED,
    JobState.CANCELLED: EventName.CANCELLED,
    JobState.PAUSED: EventName.PAUSED,
}
# Any fixed number of ours: whoever holds it for a queue counts the running jobs of that queue and claims one more.
_CLAIM_LOCK = 0x6D6F6A62
_CLAIM_IDLE_SECONDS = 3.0
"""After so long without a word from the claimer PostgreSQL ends its transaction and with it the lock. A host that
vanished in the middle of a claim holds up the others for that long, and not until TCP gives it up."""


class LeaseLost(Exception):
    """The job belongs to somebody else now; whoever sees this stops without touching it."""


class JobService:
    """Transitions of the `jobs` table; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.history = HistoryService(session)

    def enqueue(
        self, kind: JobKind, subject_id: str, payload: Payload | None = None, *, worker: str | None = None
    ) -> Job:
        """Create a queued job, for one `worker` or for any, woken after the commit. Raises ExtraMissing if none can."""
        require_able_worker(self.session, JOB_QUEUES[kind])
        job = Job(
            kind=kind,
            queue=JOB_QUEUES[kind],
            subject_id=subject_id,
            payload=None if payload is None else payload.model_dump(mode="json"),
            worker=worker,
            wake_after=self._later(WAKE_BACKOFF_SECONDS),
        )
        self.session.add(job)
        self.session.flush()
        self._wake(job)
        return job

    def queue_of(self, job_id: str) -> str:
        """Return the queue of a job; empty when there is no such job."""
        return self.session.scalar(select(Job.queue).where(Job.id == job_id)) or ""

    def claim(self, job_id: str, worker: str, *, parallel: int | None = None) -> Job | None:
        """Take a queued job, or one whose owner fell silent. None when somebody else has it or the queue is full.

        The job's `owner` is this claim, not the worker: of two threads of one worker that both believe they have the
        job, only the later one does. `parallel` limits how many jobs of the queue run at once.
        """
        if parallel is not None:
            self._count_alone(self.queue_of(job_id))
        now = self._now()
        wanted = and_(Job.id == job_id, claimable(now), or_(Job.worker.is_(None), Job.worker == worker))
        if parallel is not None:
            wanted = and_(wanted, others_running(now) < parallel)
        job = self.session.scalars(
            update(Job)
            .where(wanted)
            .values(
                state=JobState.RUNNING,
                owner=f"{worker}/{secrets.token_hex(4)}",
                lease_expires_at=now + timedelta(seconds=get_settings().lease_seconds),
                attempts=Job.attempts + 1,
                updated_at=now,
                # A download goes on where the dead worker was; a load begins anew.
                bytes_done=case((Job.queue == Queue.INFERENCE, 0), else_=Job.bytes_done),
                bytes_moved=None,
                message=None,
                step=None,
                error=None,
            )
            .returning(Job)
            .execution_options(synchronize_session=False, populate_existing=True)
        ).one_or_none()
        if job is not None and job.kind not in (*REQUESTS, *_NOT_NOTED):
            self.history.note_start(job, now)
        return job

    def heartbeat(
        self, job_id: str, owner: str, progress: JobProgress | None, result: dict[str, Any] | None = None
    ) -> JobControl:
        """Renew the lease, store progress or a result so far, read what the user wants, in one UPDATE.

        Raises LeaseLost.
        """
        # A heartbeat without progress is no news, so it leaves the time of change alone.
        now = self._now()
        values: dict[str, Any] = {
            "lease_expires_at": now + timedelta(seconds=get_settings().lease_seconds),
            "updated_at": Job.updated_at,
        }
        if progress is not None:
            values |= vars(progress) | {
                "updated_at": now,
                # A worker that takes over finds less on disk than the dead one had counted; the user never sees that.
                "bytes_done": case((Job.bytes_done > progress.bytes_done, Job.bytes_done), else_=progress.bytes_done),
                "bytes_moved": func.coalesce(progress.bytes_moved, Job.bytes_moved),
                "bytes_total": func.coalesce(progress.bytes_total, Job.bytes_total),
                "files_total": func.coalesce(progress.files_total, Job.files_total),
            }
        if result is not None:
            values |= {"result": result, "updated_at": now}
        control = self.session.execute(
            update(Job)
            .where(Job.id == job_id, Job.owner == owner, Job.state == JobState.RUNNING)
            .values(**values)
            .returning(Job.control)
            .execution_options(synchronize_session=False)
        ).scalar_one_or_none()
        if control is None:
            raise LeaseLost(job_id)
        return control

    def control_of(self, job_id: str, owner: str) -> JobControl:
        """Read what the user wants of an owned job. Raises LeaseLost."""
        control = self.session.scalar(
            select(Job.control).where(Job.id == job_id, Job.owner == owner, Job.state == JobState.RUNNING)
        )
        if control is None:
            raise LeaseLost(job_id)
        return control

    def finish(
        self,
        job_id: str,
        owner: str,
        state: JobState,
        *,
        error: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """End or pause an owned job. Raises LeaseLost."""
        finished_at = None if state is JobState.PAUSED else self._now()
        results = {} if result is None else {"result": result}
        job = self._release(job_id, owner, state=state, error=error, finished_at=finished_at, **results)
        self._note_end(job, error)

    def requeue(self, job_id: str, owner: str) -> None:
        """Return an owned job to the queue, because its worker stops. Raises LeaseLost."""
        # An attempt counts against a job that ends its worker, not the other way round.
        self._release(job_id, owner, state=JobState.QUEUED, wake_after=self._now(), attempts=Job.attempts - 1)

    def request(self, job_id: str, control: JobControl) -> JobState:
        """Ask a running job to pause or stop; a job nobody works on changes at once. Returns the state after it.

        A job that has ended stays as it is, and one that was told to cancel is not paused instead.
        """
        job, now = self._locked(job_id), self._now()
        if job.ended or job.control is JobControl.CANCEL:
            control = job.control
        job.control = control
        abandoned = job.state == JobState.RUNNING and (job.lease_expires_at or now) <= now
        idle = job.state in (JobState.QUEUED, JobState.PAUSED) or abandoned
        before = job.state
        if idle and control is JobControl.PAUSE:
            job.state, job.owner = JobState.PAUSED, None
        elif idle and control is JobControl.CANCEL:
            job.state, job.owner, job.finished_at = JobState.CANCELLED, None, now
        self.session.flush()
        if job.state is not before:
            self._note_end(job, None)
        return job.state

    def resume(self, job_id: str) -> bool:
        """Queue a paused or failed job again. False when it is neither."""
        job = self._locked(job_id)
        if job.state not in (JobState.PAUSED, JobState.FAILED):
            # A pause that was asked for and not yet taken is simply withdrawn.
            withdrawn = not job.ended and job.control is JobControl.PAUSE
            if withdrawn:
                job.control = JobControl.RUN
            return withdrawn
        job.state, job.control, job.error, job.finished_at = JobState.QUEUED, JobControl.RUN, None, None
        job.owner, job.lease_expires_at, job.message, job.step = None, None, None, None
        job.wake_after = self._later(WAKE_BACKOFF_SECONDS)
        self.session.flush()
        self._wake(job)
        return True

    def loads(self, row_ids: Sequence[str]) -> Sequence[Job]:
        """Return the requests that these models' loads wait or run for, in the order they were made."""
        return self.session.scalars(
            select(Job)
            .where(is_load(), Job.subject_id.in_(row_ids))
            .order_by(Job.created_at)
            .execution_options(populate_existing=True)
        ).all()

    def stop_loading(self, row_id: str) -> bool:
        """Take back the last request for a model that is being loaded; others' stay. False when there is none.

        A load asked for by itself goes before one that a generation waits for.
        """
        wanted = [job for job in self.loads([row_id]) if job.control is not JobControl.CANCEL]
        if not wanted:
            return False
        last = max(wanted, key=lambda job: (job.kind is JobKind.LOAD, job.created_at))
        self.request(last.id, JobControl.CANCEL)
        return True

    def stop_texts(self, before: datetime) -> None:
        """Ask generations and comparisons that were queued before to stop: who waited for them is gone."""
        left = select(Job.id).where(Job.kind.in_(WITH_TEXTS), Job.created_at < before, ~Job.ended)
        for job_id in self.session.scalars(left).all():
            self.request(job_id, JobControl.CANCEL)

    def running_of(self, worker: str) -> Sequence[Job]:
        """Return the jobs a worker is at, or was when it died."""
        return self.session.scalars(
            select(Job).where(Job.owner.startswith(f"{worker}/", autoescape=True), Job.state == JobState.RUNNING)
        ).all()

    def release_owner(self, worker: str) -> int:
        """Free the jobs of a dead predecessor of the same name, so that they do not wait for the lease to run out."""
        freed = self.session.scalars(
            update(Job)
            .where(Job.owner.startswith(f"{worker}/", autoescape=True), Job.state == JobState.RUNNING)
            .values(state=JobState.QUEUED, owner=None, lease_expires_at=None, wake_after=self._now())
            .returning(Job)
            .execution_options(synchronize_session=False)
        ).all()
        for job in freed:
            self._wake(job)
        return len(freed)

    def drop_unloads(self, worker: str) -> int:
        """End the unloads that were meant for a dead predecessor of the same name: what it held is gone with it.

        To be called after `release_owner`. Returns how many there were.
        """
        needless = self.session.scalars(
            select(Job.id).where(Job.kind == JobKind.UNLOAD, Job.worker == worker, ~Job.ended)
        ).all()
        for job_id in needless:
            self.request(job_id, JobControl.CANCEL)
        return len(needless)

    def has_work_for(self, worker: str, queues: Sequence[str]) -> bool:
        """Return whether this worker is at a job, or one waits that it could take from the `queues` it is there for."""
        at_work = and_(Job.owner.startswith(f"{worker}/", autoescape=True), Job.state == JobState.RUNNING)
        for_it = and_(
            claimable(self._now()), Job.queue.in_(with_served(queues)), or_(Job.worker.is_(None), Job.worker == worker)
        )
        return self.session.scalar(select(Job.id).where(or_(at_work, for_it)).limit(1)) is not None

    def wake_next(self, queue: str, limit: int, order: JobOrder = "oldest_first") -> None:
        """Send wake-ups for the jobs whose turn it is, after room was made."""
        turns: dict[JobOrder, list[Any]] = {
            "oldest_first": [Job.created_at],
            "smallest_first": [Model.size_bytes, Job.created_at],
        }
        waiting = self.session.scalars(
            select(Job)
            .outerjoin(Model, Model.id == Job.subject_id)
            .where(Job.queue == queue, claimable(self._now()))
            .order_by(*turns[order])
            .limit(limit)
        ).all()
        for job in waiting:
            self._wake(job)

    def forget_requests(self, kinds: Sequence[JobKind], older_than_seconds: float) -> int:
        """Remove finished requests of these kinds, which nobody asks for any more. Returns how many."""
        removed = self.session.scalars(
            delete(Job)
            .where(
                Job.kind.in_(kinds),
                Job.finished_at < self._later(-older_than_seconds),
            )
            .returning(Job.id)
        ).all()
        return len(removed)

    def reconcile(self) -> int:
        """Send a wake-up again for jobs that should run and do not. Returns how many."""
        now = self._now()
        self._readdress(now)
        due = self.session.scalars(
            select(Job)
            .where(claimable(now), Job.wake_after <= now)
            .order_by(Job.created_at)
            .limit(100)
            .with_for_update(skip_locked=True)
        ).all()
        for job in due:
            job.wake_after = now + timedelta(seconds=WAKE_BACKOFF_SECONDS)
            self._wake(job)
        return len(due)

    def _readdress(self, now: datetime) -> None:
        """Free what a silent worker was to do for any other, except an unload, which only that one can do.

        One that is busy or stopped holds the model as before and unloads it when it goes on; one that is dead is
        followed by another of its name (`drop_unloads`), or is not heard of for GONE_SECONDS.
        """
        alive = exists().where(Worker.name == Job.worker, Worker.is_alive(now))
        known = exists().where(Worker.name == Job.worker, Worker.seen_at >= now - timedelta(seconds=GONE_SECONDS))
        orphans = self.session.scalars(
            select(Job)
            .where(
                claimable(now),
                Job.worker.is_not(None),
                or_(and_(Job.kind != JobKind.UNLOAD, ~alive), ~known),
            )
            .with_for_update(skip_locked=True)
        ).all()
        for job in orphans:
            if job.kind is JobKind.UNLOAD:
                self.request(job.id, JobControl.CANCEL)
            else:
                job.worker, job.wake_after = None, now
        self.session.flush()

    def _now(self) -> datetime:
        return database_now(self.session)

    def _later(self, seconds: float) -> datetime:
        return self._now() + timedelta(seconds=seconds)

    def _locked(self, job_id: str) -> Job:
        """Return the row as it is now, whatever this session read of it before, and nobody else's until the commit."""
        return self.session.get_one(Job, job_id, with_for_update=True, populate_existing=True)

    def _count_alone(self, queue: str) -> None:
        # SQLite has one writer at a time anyway; on PostgreSQL two claims would not see each other's job.
        if self.session.get_bind().dialect.name == "postgresql":
            limit = f"{int(_CLAIM_IDLE_SECONDS * 1000)}ms"
            self.session.execute(select(func.set_config("idle_in_transaction_session_timeout", limit, True)))
            self.session.execute(select(func.pg_advisory_xact_lock(_CLAIM_LOCK, func.hashtext(queue))))

    def _note_end(self, job: Job, error: dict[str, Any] | None) -> None:
        # What is in memory is told by its worker, which also hears of models that were unloaded to make room.
        if job.kind not in _NOT_NOTED and (job.kind not in REQUESTS or job.state is JobState.FAILED):
            self.history.note_end(job, _ENDS[job.state], self._now(), error)

    def _release(self, job_id: str, owner: str, **values: Any) -> Job:
        left = self.session.scalars(
            update(Job)
            .where(Job.id == job_id, Job.owner == owner, Job.state == JobState.RUNNING)
            .values(
                owner=None,
                lease_expires_at=None,
                updated_at=self._now(),
                bytes_per_second=None,
                eta_seconds=None,
                message=None,
                step=None,
                **values,
            )
            .returning(Job)
            .execution_options(synchronize_session=False, populate_existing=True)
        ).one_or_none()
        if left is None:
            raise LeaseLost(job_id)
        return left

    def _wake(self, job: Job) -> None:
        queue = QUEUE_SERVED_BY.get(job.queue, job.queue) if job.worker is None else worker_queue(job.worker)
        wake_after_commit(self.session, queue=queue, task_name=TASKS[job.kind], job_id=job.id)
