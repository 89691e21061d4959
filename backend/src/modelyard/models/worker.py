"""The `workers` table: which worker processes have been seen lately."""

from datetime import datetime, timedelta

from sqlalchemy import String
from sqlalchemy.ext.hybrid import hybrid_method
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.models.base import Base

ALIVE_SECONDS = 15.0
"""A worker that was not seen for longer is taken for dead; a live one says so every few seconds."""


class Worker(Base):
    """A worker process, alive while its heartbeat is recent."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    queues: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime] = mapped_column(default=utc_now)

    @hybrid_method
    def is_alive(self, now: datetime) -> bool:
        """Return whether it was seen lately; also in SQL."""
        return self.seen_at >= now - timedelta(seconds=ALIVE_SECONDS)
