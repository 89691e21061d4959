"""The `training_metrics` table: the curve of a run, a few hundred points."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.models.base import Base, Bytes


class TrainingMetric(Base):
    """One point of the curve of a run."""

    __tablename__ = "training_metrics"

    training_id: Mapped[str] = mapped_column(ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tokens: Mapped[int] = mapped_column(Bytes)
    mse: Mapped[float | None]
    explained_variance: Mapped[float | None]
    explained_variance_per_token: Mapped[float | None]
    held_out_explained_variance: Mapped[float | None]
    held_out_explained_variance_per_token: Mapped[float | None]
    l0: Mapped[float | None]
    dead_features: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
