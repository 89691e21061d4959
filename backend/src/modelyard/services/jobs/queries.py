"""Conditions of SQL about jobs."""

from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import aliased

from modelyard.core.queues import Queue
from modelyard.models import Job, JobKind, JobState
from modelyard.services.jobs.kinds import LOADING_PHASE, WITH_TEXTS


def claimable(now: datetime) -> Any:
    """SQL: queued, or running under a lease that has run out."""
    return or_(
        Job.state == JobState.QUEUED,
        and_(Job.state == JobState.RUNNING, Job.lease_expires_at <= now),
    )


def others_running(now: datetime) -> Any:
    """SQL: how many other jobs of a job's queue run under a lease that has not run out."""
    other = aliased(Job)
    running = other.state == JobState.RUNNING
    return (
        select(func.count())
        .select_from(other)
        .where(other.queue == Job.queue, other.id != Job.id, running, other.lease_expires_at > now)
        .correlate(Job)
        .scalar_subquery()
    )


def is_load() -> Any:
    """SQL: a load that waits or runs, asked for by itself or by other work with the model."""
    return and_(
        Job.queue == Queue.INFERENCE,
        or_(
            and_(Job.kind == JobKind.LOAD, Job.state.in_((JobState.QUEUED, JobState.RUNNING))),
            and_(
                Job.kind.in_(WITH_TEXTS),
                Job.state == JobState.RUNNING,
                Job.phase == LOADING_PHASE,
            ),
        ),
    )
