"""Which training runs need which models' files."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.models import ACTIVE_TRAINING_STATUSES, Training
from modelyard.schemas.model import UsedBy


def training_users(session: Session, row_ids: Sequence[str]) -> dict[str, list[UsedBy]]:
    """The runs under way on these models, by the model's row."""
    users: dict[str, list[UsedBy]] = {}
    for training in session.scalars(
        select(Training)
        .where(Training.model_row_id.in_(row_ids), Training.status.in_(ACTIVE_TRAINING_STATUSES))
        .order_by(Training.created_at)
    ):
        name = f"in use by the training run {training.id[:8]} on {training.hook_point}"
        users.setdefault(training.model_row_id or "", []).append(UsedBy(kind="training", id=training.id, name=name))
    return users
