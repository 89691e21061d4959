"""The `job_events` table: what was done to a model and when. Jobs are started again and forgotten; this stays."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.core.statuses import EventKind, EventName
from modelyard.models.base import Base, Bytes, string_enum


class JobEvent(Base):
    """One thing that happened to a model."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    """Grows with time, so it orders what happened within one tick of the clock."""
    subject_id: Mapped[str] = mapped_column(String(32), index=True)
    job_id: Mapped[str | None] = mapped_column(String(32))
    kind: Mapped[EventKind] = mapped_column(string_enum(EventKind, "kind"))
    event: Mapped[EventName] = mapped_column(string_enum(EventName, "event"))
    at: Mapped[datetime] = mapped_column(default=utc_now)
    seconds: Mapped[float | None]
    """How long it took, since a worker took it: started, resumed or taken over."""
    bytes: Mapped[int | None] = mapped_column(Bytes)
    moved_bytes: Mapped[int | None] = mapped_column(Bytes)
    """Fetched or read in these seconds."""
    freed_bytes: Mapped[int | None] = mapped_column(Bytes)
    """Of an unload: how much less its worker held afterwards."""
    error: Mapped[dict[str, Any] | None]
