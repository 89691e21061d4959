"""The `saes` table: one row per sparse autoencoder on the shelf, trained here, imported, or from a Hub."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.core.statuses import SaeSource
from modelyard.models.base import Base, Bytes, new_id, string_enum


class Sae(Base):
    """A sparse autoencoder on the shelf."""

    __tablename__ = "saes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(500))
    source: Mapped[SaeSource] = mapped_column(string_enum(SaeSource, "source"))
    ready: Mapped[bool] = mapped_column(default=False)
    """Its files are here. Of one from a Hub this comes with the end of its first job."""

    model_id: Mapped[str | None] = mapped_column(String(200), index=True)
    """The model it was trained on, as its metadata names it; None where they do not."""
    commit: Mapped[str | None] = mapped_column(String(64))
    quantization: Mapped[str | None] = mapped_column(String(32))
    dtype: Mapped[str | None] = mapped_column(String(32))
    """Of the model while it was trained on."""
    hook_point: Mapped[str | None] = mapped_column(String(500))
    d_in: Mapped[int | None]
    d_sae: Mapped[int | None]
    architecture: Mapped[str | None] = mapped_column(String(64))
    context_size: Mapped[int | None]
    size_bytes: Mapped[int | None] = mapped_column(Bytes)

    training_id: Mapped[str | None] = mapped_column(ForeignKey("trainings.id", ondelete="SET NULL"), index=True)
    endpoint: Mapped[str | None] = mapped_column(String(500))
    """The Hub it is from, and there its repository, commit and folder."""
    repo_id: Mapped[str | None] = mapped_column(String(200))
    repo_commit: Mapped[str | None] = mapped_column(String(64))
    repo_path: Mapped[str | None] = mapped_column(String(1024))

    evaluation: Mapped[dict[str, Any] | None]
    features: Mapped[dict[str, Any] | None]
    """What the feature pages were built of."""

    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """The last work on it: the download, an evaluation, the building of features."""
    model_row_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="SET NULL"), index=True)
    """The model that this work reads."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now, index=True)
