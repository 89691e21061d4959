"""Whether somebody can do a job: this installation's own workers, or live ones elsewhere."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.database import database_now
from modelyard.core.extras import Extra, has, missing
from modelyard.core.queues import QUEUE_SERVED_BY, Queue
from modelyard.models import Worker


def require_able_worker(session: Session, queue: str) -> None:
    """Raise ExtraMissing for a queue that needs torch, where neither this installation nor a live worker has it."""
    if queue != Queue.DOWNLOADS and not can_do(session, queue):
        raise missing(Extra.TORCH)


def can_do(session: Session, queue: str) -> bool:
    """Return whether jobs of a queue that needs torch are done here, or by a live worker of another installation."""
    if has(Extra.TORCH):
        return True
    served = QUEUE_SERVED_BY.get(queue, queue)
    alive = session.scalars(select(Worker.queues).where(Worker.is_alive(database_now(session))))
    return any(served in queues.split(",") for queues in alive)
