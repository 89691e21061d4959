"""The `bundles` table: one row per bundle of models that is written here, or read in."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.core.statuses import BundleKind, BundleStatus
from modelyard.models.base import Base, Bytes, new_id, string_enum


class Bundle(Base):
    """A bundle that is written here, or read into the cache."""

    __tablename__ = "bundles"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    kind: Mapped[BundleKind] = mapped_column(string_enum(BundleKind, "kind"))
    status: Mapped[BundleStatus] = mapped_column(string_enum(BundleStatus, "status"), default=BundleStatus.PENDING)
    name: Mapped[str] = mapped_column(String(255))
    """Of the file; its parts have a number behind it."""
    path: Mapped[str | None] = mapped_column(String(4096))
    """Of one that is read in: where it lies on the server's machine."""
    request: Mapped[dict[str, Any]]
    """What was asked for: rows and options of an export, options of an import."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """Of an export: the hash of what it is to hold. The same request of the same content is the same bundle."""
    models: Mapped[list[dict[str, Any]]]
    """model_id, commit and precisions of what it carries; of an import also the rows it made."""
    size_bytes: Mapped[int] = mapped_column(Bytes)
    parts: Mapped[list[dict[str, Any]]]
    """name, size_bytes and sha256 of each part; the hash is there once the part is written."""
    error: Mapped[dict[str, Any] | None]

    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    finished_at: Mapped[datetime | None]
