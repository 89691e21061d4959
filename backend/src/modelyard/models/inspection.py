"""The `inspections` table: what was found out about a commit, so that it is found out once."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.models.base import Base


class Inspection(Base):
    __tablename__ = "inspections"

    model_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    commit: Mapped[str] = mapped_column(String(64), primary_key=True)
    question: Mapped[str] = mapped_column(String(300), primary_key=True)
    """What was asked, with the versions of the libraries whose answer it is."""
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
