"""What was done to a model and when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from modelyard.core.database import read_page, utc_now
from modelyard.core.errors import ModelNotFound
from modelyard.models import EventKind, EventName, Job, JobEvent, Model
from modelyard.schemas.history import HistoryEvent, HistoryPage

KEPT_PER_MODEL = 500
_AT_WORK = (EventName.STARTED, EventName.RESUMED, EventName.TAKEN_OVER)
_LAST_LOADS = select(JobEvent.subject_id, JobEvent.seconds).where(
    JobEvent.id.in_(
        select(func.max(JobEvent.id))
        .where(
            JobEvent.subject_id.in_(bindparam("row_ids", expanding=True)),
            JobEvent.kind == EventKind.LOAD,
            JobEvent.event == EventName.DONE,
            JobEvent.seconds.is_not(None),
        )
        .group_by(JobEvent.subject_id)
    )
)


class HistoryService:
    """Writes and reads the `job_events` table; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def note(
        self,
        row_id: str,
        kind: EventKind,
        event: EventName,
        *,
        job_id: str | None = None,
        at: datetime | None = None,
        seconds: float | None = None,
        size_bytes: int | None = None,
        moved_bytes: int | None = None,
        freed_bytes: int | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        """Write one event down; beyond KEPT_PER_MODEL the oldest of the model goes."""
        self.session.add(
            JobEvent(
                subject_id=row_id,
                job_id=job_id,
                kind=kind,
                event=event,
                at=at or utc_now(),
                seconds=seconds,
                bytes=size_bytes,
                moved_bytes=moved_bytes,
                freed_bytes=freed_bytes,
                error=error,
            )
        )
        self.session.flush()
        oldest_kept = (
            select(JobEvent.id)
            .where(JobEvent.subject_id == row_id)
            .order_by(JobEvent.id.desc())
            .offset(KEPT_PER_MODEL - 1)
            .limit(1)
            .scalar_subquery()
        )
        self.session.execute(
            delete(JobEvent)
            .where(JobEvent.subject_id == row_id, JobEvent.id < oldest_kept)
            .execution_options(synchronize_session=False)
        )

    def note_start(self, job: Job, at: datetime) -> None:
        """Note that a worker took a job: for the first time, after a stop, or because another one let go of it."""
        last = self.session.scalar(
            select(JobEvent.event).where(JobEvent.job_id == job.id).order_by(JobEvent.id.desc()).limit(1)
        )
        event = EventName.STARTED if last is None else EventName.RESUMED
        if last in _AT_WORK:
            event = EventName.TAKEN_OVER
        self.note(job.subject_id, EventKind(job.kind.value), event, job_id=job.id, at=at)

    def note_end(self, job: Job, event: EventName, at: datetime, error: dict[str, Any] | None = None) -> None:
        """Note that a job stopped, for good or for now; time and bytes moved are those of its last worker."""
        last = self.session.execute(
            select(JobEvent.event, JobEvent.at).where(JobEvent.job_id == job.id).order_by(JobEvent.id.desc()).limit(1)
        ).one_or_none()
        begun = last.at if last is not None and last.event in _AT_WORK else None
        self.note(
            job.subject_id,
            EventKind(job.kind.value),
            event,
            job_id=job.id,
            at=at,
            seconds=None if begun is None else (at - begun).total_seconds(),
            size_bytes=job.bytes_done or None,
            moved_bytes=None if begun is None else job.bytes_moved,
            error=error,
        )

    def page(self, row_id: str, *, limit: int, offset: int) -> HistoryPage:
        """Return one page of a model's events, the newest first. Raises ModelNotFound."""
        if self.session.get(Model, row_id) is None:
            raise ModelNotFound(f"There is no model with the id {row_id!r}.")
        newest_first = select(JobEvent).where(JobEvent.subject_id == row_id).order_by(JobEvent.id.desc())
        events, total = read_page(self.session, newest_first, limit=limit, offset=offset)
        return HistoryPage(
            items=[
                HistoryEvent(
                    at=event.at,
                    kind=event.kind.value,
                    event=event.event.value,
                    seconds=event.seconds,
                    bytes=event.bytes,
                    moved_bytes=event.moved_bytes,
                    freed_bytes=event.freed_bytes,
                    error=event.error,
                )
                for event in events
            ],
            total=total,
            limit=limit,
            offset=offset,
        )

    def last_load_seconds(self, row_ids: Sequence[str]) -> dict[str, float]:
        """Return how long the last load of each row took, of those that were loaded, by id."""
        events = self.session.execute(_LAST_LOADS, {"row_ids": row_ids})
        return {row_id: seconds for row_id, seconds in events if seconds is not None}

    def forget(self, row_id: str) -> None:
        """Delete the events of a model that is deleted."""
        self.session.execute(delete(JobEvent).where(JobEvent.subject_id == row_id))
