"""Endpoints of training runs: plan, start, follow, cancel, resume."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from modelyard.api.deps import DatabaseDep, ReadingDep, SessionDep, TrainingRunsDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Offset
from modelyard.core import errors
from modelyard.core.statuses import TrainingStatusName
from modelyard.models import TrainingStatus
from modelyard.schemas import examples
from modelyard.schemas.cache import FreedBytes
from modelyard.schemas.training import (
    TrainingCreate,
    TrainingCurve,
    TrainingLog,
    TrainingMetricPoint,
    TrainingPage,
    TrainingPlan,
    TrainingResponse,
)
from modelyard.services.training import actions, run_log
from modelyard.services.training.training_service import TrainingService, training_response

router = APIRouter(prefix="/trainings", tags=["trainings"], route_class=PlainTextRoute)

TrainingId = Annotated[
    str, Path(alias="id", description="A run's id.", max_length=64, examples=[examples.TRAINING_RESPONSE["id"]])
]
REFUSALS = (
    errors.ModelNotFound,
    errors.NotReady,
    errors.TrainingIncompatible,
    errors.InvalidRequest,
    errors.PathNotAllowed,
    errors.SaeEngineMissing,
)


@router.post(
    "",
    status_code=202,
    summary="Start a training run",
    responses=ACCEPTED | problems(*REFUSALS, errors.OutOfMemory, errors.DiskFull),
)
def start_training(request: TrainingCreate, trainings: TrainingRunsDep) -> TrainingResponse:
    """Start training a sparse autoencoder on one hook point of an installed model.

    The width is taken from the model. A run that does not fit in memory is refused with the figures.
    """
    return training_response(trainings.start(request))


@router.post("/plan", summary="Plan a training run", responses=problems(*REFUSALS))
def plan_training(request: TrainingCreate, trainings: TrainingRunsDep) -> TrainingPlan:
    """Return the memory and disk a run would take, and why it would be refused, without starting it."""
    return trainings.plan(request)


@router.get("", summary="List training runs")
def list_trainings(
    session: ReadingDep,
    status: Annotated[
        list[TrainingStatusName] | None,
        Query(description="Only these; may be given several times.", examples=[["pending", "running"]]),
    ] = None,
    model_id: Annotated[
        str | None,
        Query(description="Only runs on this model.", max_length=64, examples=[examples.MODEL_RESPONSE["id"]]),
    ] = None,
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=200)] = 50,
    offset: Offset = 0,
) -> TrainingPage:
    """List training runs, newest first, one page at a time."""
    rows, total = TrainingService(session).list(
        statuses=[TrainingStatus(name) for name in status or ()], model_row_id=model_id, limit=limit, offset=offset
    )
    return TrainingPage(items=[training_response(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get("/{id}", summary="One training run", responses=problems(errors.TrainingNotFound))
def get_training(training_id: TrainingId, session: ReadingDep) -> TrainingResponse:
    """Return a run with its progress and latest figures."""
    return training_response(TrainingService(session).get_by_id(training_id))


@router.get("/{id}/metrics", summary="A run's curve", responses=problems(errors.TrainingNotFound))
def get_training_metrics(
    training_id: TrainingId,
    session: ReadingDep,
    after_step: Annotated[int, Query(description="Only points after this step.", ge=0, le=2**31 - 1)] = 0,
) -> TrainingCurve:
    """Return a run's curve: its figures by step, a few hundred points at most."""
    points = TrainingService(session).curve(training_id, after_step)
    return TrainingCurve(items=[TrainingMetricPoint.model_validate(point, extra="ignore") for point in points])


@router.get("/{id}/log", summary="A run's log", responses=problems(errors.TrainingNotFound))
def get_training_log(
    training_id: TrainingId,
    session: ReadingDep,
    after: Annotated[int, Query(description="Only output after this position, in bytes.", ge=0, le=2**53)] = 0,
) -> TrainingLog:
    """Return the newest output of the run's process, at most 64 KiB.

    Empty before the run starts, and if the worker's files are on another machine.
    """
    return run_log.read(TrainingService(session).get_by_id(training_id).id, after)


@router.post(
    "/{id}/cancel",
    status_code=202,
    summary="Cancel a run",
    responses=ACCEPTED | problems(errors.TrainingNotFound, errors.Conflict),
)
def cancel_training(training_id: TrainingId, session: SessionDep) -> TrainingResponse:
    """Save the state of a run and stop it; it can be resumed."""
    return training_response(TrainingService(session).cancel(training_id))


@router.post(
    "/{id}/resume",
    status_code=202,
    summary="Resume a run",
    responses=ACCEPTED | problems(errors.TrainingNotFound, errors.Conflict, errors.NotReady, errors.ExtraMissing),
)
def resume_training(training_id: TrainingId, session: SessionDep) -> TrainingResponse:
    """Resume a cancelled or failed run from its last checkpoint, or from the start if there is none."""
    return training_response(TrainingService(session).resume(training_id))


@router.delete("/{id}", summary="Delete a run", responses=problems(errors.TrainingNotFound, errors.Conflict))
def delete_training(training_id: TrainingId, database: DatabaseDep) -> FreedBytes:
    """Delete a finished run with its SAE, checkpoint and curve."""
    return FreedBytes(freed_bytes=actions.delete_training(database, training_id))
