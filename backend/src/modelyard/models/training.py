"""The `trainings` table: one row per run that trains a sparse autoencoder on a model's activations."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, false
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.core.statuses import TrainingStatus
from modelyard.models.base import Base, Bytes, new_id, string_enum


class Training(Base):
    """A training run, with its settings and where it stands."""

    __tablename__ = "trainings"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    status: Mapped[TrainingStatus] = mapped_column(
        string_enum(TrainingStatus, "status"), default=TrainingStatus.PENDING
    )
    model_row_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="SET NULL"), index=True)
    """Empty once the model was deleted; what it was stays in the next three columns."""
    model_id: Mapped[str] = mapped_column(String(200))
    commit: Mapped[str] = mapped_column(String(64))
    quantization: Mapped[str] = mapped_column(String(32))

    config: Mapped[dict[str, Any]]
    """What was asked for, with every default filled in."""
    hook_point: Mapped[str] = mapped_column(String(500))
    d_in: Mapped[int]
    d_sae: Mapped[int]
    plan: Mapped[dict[str, Any]]
    """The memory plan the run was accepted with."""

    phase: Mapped[str | None] = mapped_column(String(32))
    tokens_done: Mapped[int] = mapped_column(Bytes, default=0)
    tokens_total: Mapped[int] = mapped_column(Bytes)
    tokens_per_second: Mapped[float | None]
    eta_seconds: Mapped[float | None]
    metrics: Mapped[dict[str, Any] | None]
    engine: Mapped[str | None] = mapped_column(String(64))
    """Name and version of what trains, once it has begun."""
    output_path: Mapped[str | None] = mapped_column(String(1000))
    error: Mapped[dict[str, Any] | None]
    removal_due: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It is being deleted: its folder is removed first, the row after that."""

    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now, index=True)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
