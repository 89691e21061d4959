"""The queues of jobs, by name."""

from collections.abc import Iterable
from enum import StrEnum


class Queue(StrEnum):
    DOWNLOADS = "downloads"
    COMPUTE = "compute"
    INFERENCE = "inference"
    TRAINING = "training"
    CAPTURES = "captures"


QUEUES = (Queue.DOWNLOADS, Queue.COMPUTE, Queue.INFERENCE)
"""Those that workers listen to."""

QUEUE_SERVED_BY: dict[str, Queue] = {Queue.TRAINING: Queue.COMPUTE, Queue.CAPTURES: Queue.INFERENCE}
"""Queues that have no workers of their own: whose workers are woken."""


def with_served(queues: Iterable[str]) -> list[str]:
    """Return these queues and those that their workers serve, too."""
    listened = list(queues)
    return [*listened, *(queue for queue, server in QUEUE_SERVED_BY.items() if server in listened)]


def worker_queue(worker: str) -> str:
    """Return the queue that only this worker listens to."""
    return f"worker.{worker}"
