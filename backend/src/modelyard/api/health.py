"""Probes for supervisors and load balancers, and metrics, without the API's prefix."""

import asyncio
from functools import lru_cache
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import func, select

from modelyard.api.deps import DatabaseDep, ReadingDep
from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable
from modelyard.models import Job, Worker
from modelyard.schemas import examples
from modelyard.schemas.system import Health, Readiness
from modelyard.services.model_service import ModelService
from modelyard.services.system_service import workers

router = APIRouter(tags=["health"])

READY_SECONDS = 2.0
"""How long `/readyz` waits for the database."""

NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "model": Readiness,
        "description": "Not ready yet.",
        "content": {"application/json": {"example": examples.NOT_READY}},
    }
}


@router.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """Return 200 if the process answers."""
    return Health()


@router.get("/readyz", summary="Ready", responses=NOT_READY)
async def readyz(response: Response, database: DatabaseDep) -> Readiness:
    """Return 200 if the database answers, otherwise 503."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            # Threads of their own, so that it is answered when all others wait for the database.
            await to_thread.run_sync(_ask, database, limiter=_probing(), abandon_on_cancel=True)
    except (DatabaseUnavailable, TimeoutError):
        response.status_code = 503
        return Readiness(ready=False, database=False, reason="The database does not answer.")
    return Readiness(ready=True, database=True)


def _ask(database: Database) -> None:
    with database.guarded():
        database.probe()


@lru_cache
def _probing() -> CapacityLimiter:
    return CapacityLimiter(4)


@router.get(
    "/metrics",
    summary="Metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": examples.METRICS}}}},
)
def metrics(session: ReadingDep) -> str:
    """Return metrics in the text format of Prometheus."""
    lines = ["# HELP modelyard_models Models per status.", "# TYPE modelyard_models gauge"]
    lines += [
        f'modelyard_models{{status="{status}"}} {n}' for status, n in sorted(ModelService(session).counts().items())
    ]
    lines += ["# HELP modelyard_jobs Jobs per queue and state.", "# TYPE modelyard_jobs gauge"]
    jobs = session.execute(select(Job.queue, Job.state, func.count()).group_by(Job.queue, Job.state)).all()
    lines += [f'modelyard_jobs{{queue="{queue}",state="{state.value}"}} {n}' for queue, state, n in jobs]
    alive = sum(worker.alive for worker in workers(session))
    known = session.scalar(select(func.count()).select_from(Worker)) or 0
    lines += ["# HELP modelyard_workers Workers seen.", "# TYPE modelyard_workers gauge"]
    lines += [f'modelyard_workers{{state="alive"}} {alive}', f'modelyard_workers{{state="gone"}} {known - alive}']
    return "\n".join(lines) + "\n"
