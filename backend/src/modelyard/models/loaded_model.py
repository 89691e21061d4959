"""The `loaded_models` table: what inference workers hold in memory, each row under a lease its worker renews."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.models.base import Base, Bytes


class LoadedModel(Base):
    """A model in the memory of a worker."""

    __tablename__ = "loaded_models"

    model_row_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    worker: Mapped[str] = mapped_column(String(200), primary_key=True)
    device: Mapped[str] = mapped_column(String(32), primary_key=True)
    dtype: Mapped[str] = mapped_column(String(32), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    measured_bytes: Mapped[int] = mapped_column(Bytes)
    load_seconds: Mapped[float]
    in_use: Mapped[int] = mapped_column(default=0)
    pinned: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[datetime | None]
    last_unload: Mapped[dict[str, Any] | None]
    lease_expires_at: Mapped[datetime]
    loaded_at: Mapped[datetime] = mapped_column(default=utc_now)
