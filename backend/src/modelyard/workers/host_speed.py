"""Has a worker that loads models measure its host before anybody asks what a load would be like there."""

import logging
from collections.abc import Sequence

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.services.inspection.fast_dtype import measure_here
from modelyard.services.jobs.job_service import JobService
from modelyard.workers.celery_app import stopping

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
"""Between two looks at whether the worker has anything to do."""


def measure_when_idle(database: Database, name: str, queues: Sequence[str]) -> None:
    """Wait until the worker `name` has nothing to do, and measure its host once.

    That runs in a process of its own and takes a second, so a load that comes meanwhile does not wait.
    """
    while not stopping.wait(IDLE_SECONDS):
        try:
            with database.reading() as session:
                is_busy = JobService(session).has_work_for(name, queues)
            if not is_busy:
                measure_here(database)
                return
        except DatabaseUnavailable:
            continue
        except Exception:
            logger.warning("This host's speed was not measured", exc_info=True)
            return
