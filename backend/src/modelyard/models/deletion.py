"""The `deletions` table: which rows are gone, for those who may have read them before."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.models.base import Base


class Deletion(Base):
    __tablename__ = "deletions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """That of the deleted row."""
    table: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(index=True)
    """By the database's clock."""
