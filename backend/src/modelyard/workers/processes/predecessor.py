"""Finds out how the previous worker of the same name ended.

A worker that is stopped requeues its jobs. One that was killed by hand, or with its machine, leaves them running, and
they are started again. If the kernel killed it because memory ran out, the same job would kill the next worker too, so
that job ends. Each worker keeps the kernel's count of such kills in a file. If the count has risen when the next worker
of that name starts, a process was killed within seconds of the worker's death, and most likely it was the worker.
"""

import json
import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from modelyard.core.container import OomKills, killed_for_memory, oom_kills
from modelyard.core.database import Database
from modelyard.core.errors import OutOfMemory, StorageError
from modelyard.core.private_files import open_private
from modelyard.core.settings import get_settings
from modelyard.core.storage import storage_errors
from modelyard.models import JobKind, JobState, Model
from modelyard.services.inference.loaded_models import LoadedModels
from modelyard.services.jobs.job_service import JobService, LeaseLost
from modelyard.workers.job_runner import MODEL_ENDINGS

logger = logging.getLogger(__name__)

_MAY_BE_TO_BLAME = {
    JobKind.LOAD: "loaded",
    JobKind.GENERATE: "generated with",
    JobKind.DRIFT: "compared",
    JobKind.EMBED: "embedded with",
    JobKind.ACTIVATIONS: "read for activations",
    JobKind.LENS: "read layer by layer",
    JobKind.QUANTIZE: "quantized",
    JobKind.MERGE: "merged",
}
"""Downloads take no memory to speak of, and a training run goes on from its checkpoint, in a process of its own."""


def note_oom_kills(worker: str) -> None:
    """Store the kernel's current count for the next worker of this name. Keeps the old one if the disk is full."""
    now = oom_kills()
    if now is not None:
        path = _record(worker)
        fresh = path.with_suffix(".new")
        with suppress(StorageError), storage_errors(path):  # the database tells of the same disk
            with open_private(fresh, "w", encoding="utf-8") as file:
                json.dump(asdict(now), file)
            fresh.replace(path)


def died_for_memory(worker: str) -> bool:
    """Return whether the kernel killed a process for lack of memory since the last worker of this name was seen."""
    try:
        before = OomKills(**json.loads(_record(worker).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TypeError) as error:
        logger.warning("What the last worker of this name wrote cannot be read: %s", error)
        return False
    return killed_for_memory(before, oom_kills())


def end_starved(database: Database, worker: str) -> int:
    """End the jobs of a worker that may have used up the memory. Call this before its other jobs are released."""
    with database.reading() as session:
        starved = [job for job in JobService(session).running_of(worker) if job.kind in _MAY_BE_TO_BLAME]
        names = {job.id: getattr(session.get(Model, job.subject_id), "model_id", "a model") for job in starved}
    for job in starved:
        error = OutOfMemory(
            f"Memory ran out while {names[job.id]} was being {_MAY_BE_TO_BLAME[job.kind]}, and the system killed the"
            " worker.",
            hint="Unload other models, or choose a smaller precision or another device, then ask again.",
        ).as_dict()
        owner = job.owner or ""
        with suppress(LeaseLost):  # its lease ran out, and somebody else has it
            if job.kind in (JobKind.QUANTIZE, JobKind.MERGE):
                MODEL_ENDINGS.failed(database, job.id, owner, job.subject_id, error)
                continue
            if job.kind is JobKind.LOAD:
                LoadedModels(database, worker).note_failure(job.kind, job.subject_id, error)
            with database.session() as session:
                JobService(session).finish(job.id, owner, JobState.FAILED, error=error)
    return len(starved)


def _record(worker: str) -> Path:
    return get_settings().home / "workers" / f"{worker}.oom"
