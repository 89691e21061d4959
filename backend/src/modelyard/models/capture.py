"""The `captures` table: one row per set of activations that is, or is being, written to files."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.models.base import Base, Bytes, new_id


class Capture(Base):
    """A set of activations in files."""

    __tablename__ = "captures"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """Its state is that of the set."""
    model_row_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="SET NULL"), index=True)
    """Empty once the model was deleted; what it was stays in the next three columns."""
    model_id: Mapped[str] = mapped_column(String(200))
    commit: Mapped[str] = mapped_column(String(64))
    quantization: Mapped[str] = mapped_column(String(32))

    request: Mapped[dict[str, Any]]
    """What was asked for, without the texts."""
    rows: Mapped[int | None] = mapped_column(Bytes)
    tokens: Mapped[int | None] = mapped_column(Bytes)
    estimated_bytes: Mapped[int | None] = mapped_column(Bytes)
    """These three are known once the tokens were counted."""

    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
