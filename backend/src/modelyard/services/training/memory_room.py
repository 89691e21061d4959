"""Memory for a training run: models that are loaded and idle give theirs up; pinned ones and those in use never do."""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.core.database import Database, database_now
from modelyard.models import Job, JobControl, JobKind, LoadedModel, Model
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import UnloadPayload

UNLOAD_SECONDS = 60.0
"""How long a run waits for room; then it goes by what is free."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class IdleModel:
    """A loaded model that would be unloaded for a run."""

    row_id: str
    worker: str
    name: str
    measured_bytes: int


def idle_models(session: Session, device: str) -> list[IdleModel]:
    """Return the models in a device's memory on this machine, unused and not pinned; the least recently used first."""
    rows = session.execute(
        select(LoadedModel, Model)
        .join(Model, Model.id == LoadedModel.model_row_id)
        .where(
            LoadedModel.host == socket.gethostname(),
            LoadedModel.device == device,
            LoadedModel.lease_expires_at > database_now(session),
            LoadedModel.in_use == 0,
            LoadedModel.pinned.is_(False),
        )
        # The time of expiry follows the last use; models without one are kept the longest.
        .order_by(LoadedModel.expires_at.is_(None), LoadedModel.expires_at, LoadedModel.loaded_at)
    ).all()
    return [IdleModel(model.id, loaded.worker, model.name, loaded.measured_bytes) for loaded, model in rows]


def enough(idle: Sequence[IdleModel], missing_bytes: float) -> list[IdleModel]:
    """Return the first of them that together hold what is missing.

    None if all of them do not, or nothing is missing.
    """
    chosen: list[IdleModel] = []
    for model in idle:
        if missing_bytes <= 0:
            break
        chosen.append(model)
        missing_bytes -= model.measured_bytes
    return chosen if missing_bytes <= 0 else []


def unload(database: Database, models: Sequence[IdleModel], should_stop: Callable[[], bool]) -> None:
    """Ask the workers that hold these models to let go of them, and wait until they have answered.

    A model that came into use or was pinned meanwhile stays.
    """
    with database.session() as session:
        jobs = JobService(session)
        ids = [
            jobs.enqueue(JobKind.UNLOAD, row_id, UnloadPayload(only_idle=True), worker=worker).id
            for row_id, worker in {(model.row_id, model.worker) for model in models}
        ]
    deadline = time.monotonic() + UNLOAD_SECONDS
    while time.monotonic() < deadline and not should_stop():
        with database.reading() as session:
            waiting = session.scalar(select(func.count()).select_from(Job).where(Job.id.in_(ids), ~Job.ended))
        if not waiting:
            return
        time.sleep(_POLL_SECONDS)
    with database.session() as session:
        for job_id in ids:
            JobService(session).request(job_id, JobControl.CANCEL)
