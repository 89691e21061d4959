"""The `jobs` table: the truth about long work. A queue message only carries a job's id."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Index, String, Text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.core.statuses import ENDED_STATES, JobControl, JobKind, JobState
from modelyard.models.base import Base, Bytes, new_id, string_enum


class Job(Base):
    """A unit of work that one worker at a time owns, with its progress and its end."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_queue_state", "queue", "state"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    kind: Mapped[JobKind] = mapped_column(string_enum(JobKind, "kind"))
    queue: Mapped[str] = mapped_column(String(32))
    subject_id: Mapped[str] = mapped_column(String(32), index=True)
    """The row the job works on: the id of a model, of a training run, or of a sparse autoencoder."""
    payload: Mapped[dict[str, Any] | None]
    """What the job needs to know beside its row: the folder an import reads, for example."""
    state: Mapped[JobState] = mapped_column(string_enum(JobState, "state"), default=JobState.QUEUED)
    control: Mapped[JobControl] = mapped_column(string_enum(JobControl, "control"), default=JobControl.RUN)

    worker: Mapped[str | None] = mapped_column(String(200))
    """The only worker that may take it: the one whose memory holds the model it is about."""
    owner: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[datetime | None]
    wake_after: Mapped[datetime] = mapped_column(default=utc_now)
    """The reconciler sends no wake-up before this; each one pushes it further out."""
    attempts: Mapped[int] = mapped_column(default=0)

    phase: Mapped[str | None] = mapped_column(String(32))
    bytes_done: Mapped[int] = mapped_column(Bytes, default=0)
    bytes_moved: Mapped[int | None] = mapped_column(Bytes)
    """Fetched or read by the worker that has it, or had it last."""
    bytes_total: Mapped[int | None] = mapped_column(Bytes)
    bytes_per_second: Mapped[float | None]
    eta_seconds: Mapped[float | None]
    files_done: Mapped[int] = mapped_column(default=0)
    files_total: Mapped[int | None]
    message: Mapped[str | None] = mapped_column(Text)
    step: Mapped[dict[str, Any] | None]
    """Which part of the work its worker is at: name, done, total."""
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    """What the job has to tell: of a generation the text so far, at its end the figures."""

    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now, index=True)
    finished_at: Mapped[datetime | None]

    @hybrid_property
    def ended(self) -> bool:
        """Return whether nobody works on the job any more, and nobody will unless it is resumed; also in SQL."""
        return self.state in ENDED_STATES

    @ended.inplace.expression
    @classmethod
    def _ended(cls) -> ColumnElement[bool]:
        return cls.state.in_(ENDED_STATES)
