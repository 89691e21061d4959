"""What holds models in use: workers that have them in memory, training runs, and work on sparse autoencoders."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from modelyard.core.database import database_now
from modelyard.core.statuses import ENDED_STATES
from modelyard.models import ACTIVE_TRAINING_STATUSES, Job, LoadedModel, Model, Sae, Training
from modelyard.schemas.model import UsedBy

_PLACE_WORDS = {
    "cpu": "in the system memory",
    "auto": "on the accelerators",
    "auto+cpu": "on the accelerators and in the system memory",
}
# Built once: building a statement takes as long as a small one runs, and these are part of every answer about models.
_LOADED = select(LoadedModel).where(
    LoadedModel.model_row_id.in_(bindparam("row_ids", expanding=True)), LoadedModel.lease_expires_at > bindparam("now")
)
_TRAININGS = (
    select(Training)
    .where(
        Training.model_row_id.in_(bindparam("row_ids", expanding=True)), Training.status.in_(ACTIVE_TRAINING_STATUSES)
    )
    .order_by(Training.created_at)
)
_SAES = (
    select(Sae)
    .join(Job, Job.id == Sae.job_id)
    .where(Sae.model_row_id.in_(bindparam("row_ids", expanding=True)), Job.state.not_in(ENDED_STATES))
    .order_by(Sae.created_at)
)


def users_of(session: Session, model: Model) -> list[UsedBy]:
    """Return all that holds one model in use."""
    return [
        *(loaded_by(loaded) for loaded in loaded_rows(session, [model.id])),
        *training_users(session, [model.id]).get(model.id, []),
    ]


def loaded_rows(session: Session, row_ids: Sequence[str]) -> Sequence[LoadedModel]:
    """Return where these models are in memory, as far as their workers still say so."""
    return session.scalars(_LOADED, {"row_ids": row_ids, "now": database_now(session)}).all()


def loaded_by(loaded: LoadedModel) -> UsedBy:
    """Return the worker that holds a model in memory, with where it does in words."""
    place = _PLACE_WORDS.get(loaded.device, f"on {loaded.device}")
    how = "" if loaded.dtype in (None, "auto") else f"in {loaded.dtype} "
    return UsedBy(
        kind="loaded",
        id=loaded.worker,
        name=f"loaded {how}{place} of {loaded.host}",
        dtype=loaded.dtype,
        measured_bytes=loaded.measured_bytes,
    )


def training_users(session: Session, row_ids: Sequence[str]) -> dict[str, list[UsedBy]]:
    """Return the runs under way on these models and the work on their SAEs, by the model's row."""
    users: dict[str, list[UsedBy]] = {}
    for training in session.scalars(_TRAININGS, {"row_ids": row_ids}):
        name = f"in use by the training run {training.id[:8]} on {training.hook_point}"
        users.setdefault(training.model_row_id or "", []).append(UsedBy(kind="training", id=training.id, name=name))
    for sae in session.scalars(_SAES, {"row_ids": row_ids}):
        name = f"read for the sparse autoencoder {sae.name}"
        users.setdefault(sae.model_row_id or "", []).append(UsedBy(kind="sae", id=sae.id, name=name))
    return users
