"""The `labels` table: what people note about a repository, whatever revision or precision of it is here."""

from sqlalchemy import String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.models.base import Base


class Label(Base):
    """Kept when the repository's rows are deleted, so that it is there again with them."""

    __tablename__ = "labels"

    model_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    tags: Mapped[list[str]] = mapped_column(default=list)
    """Sorted, each once."""
    note: Mapped[str] = mapped_column(Text, default="")
    favourite: Mapped[bool] = mapped_column(default=False, server_default=false(), index=True)
    pinned_commit: Mapped[str | None] = mapped_column(String(64))
    """The commit on the Hub that downloads without a revision get, and beyond which no update is offered."""
