"""Training runs: plan, start, follow, cancel, resume."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from modelyard.api.deps import DatabaseDep, ReadingDep, SessionDep, TrainingRunsDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Offset
from modelyard.core import errors
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
    TrainingStatusName,
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
)


@router.post(
    "",
    status_code=202,
    summary="Start a training run",
    responses=ACCEPTED | problems(*REFUSALS, errors.SaeEngineMissing, errors.OutOfMemory, errors.DiskFull),
)
def start_training(request: TrainingCreate, trainings: TrainingRunsDep) -> TrainingResponse:
    """Train a sparse autoencoder on one hook point of a model that is here.

    The width is found in the model. A run whose memory plan does not fit is refused with the figures.
    """
    return training_response(trainings.start(request))


@router.post("/plan", summary="Plan a training run", responses=problems(*REFUSALS))
def plan_training(request: TrainingCreate, trainings: TrainingRunsDep) -> TrainingPlan:
    """What the same request would take, and why it would be refused if it would be; nothing is started."""
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
        Query(description="Only runs on this row.", max_length=64, examples=[examples.MODEL_RESPONSE["id"]]),
    ] = None,
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=200)] = 50,
    offset: Offset = 0,
) -> TrainingPage:
    """One page of runs, the newest first."""
    rows, total = TrainingService(session).list(
        statuses=[TrainingStatus(name) for name in status or ()], model_row_id=model_id, limit=limit, offset=offset
    )
    return TrainingPage(items=[training_response(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get("/{id}", summary="One training run", responses=problems(errors.TrainingNotFound))
def get_training(training_id: TrainingId, session: ReadingDep) -> TrainingResponse:
    """The run as it is now, with progress and the last figures."""
    return training_response(TrainingService(session).get_by_id(training_id))


@router.get("/{id}/metrics", summary="A run's curve", responses=problems(errors.TrainingNotFound))
def get_training_metrics(
    training_id: TrainingId,
    session: ReadingDep,
    after_step: Annotated[int, Query(description="Only points behind this step.", ge=0, le=2**31 - 1)] = 0,
) -> TrainingCurve:
    """The figures over the steps, a few hundred points at most."""
    points = TrainingService(session).curve(training_id, after_step)
    return TrainingCurve(items=[TrainingMetricPoint.model_validate(point, extra="ignore") for point in points])


@router.get("/{id}/log", summary="A run's log", responses=problems(errors.TrainingNotFound))
def get_training_log(
    training_id: TrainingId,
    session: ReadingDep,
    after: Annotated[int, Query(description="Only what is behind this position, in bytes.", ge=0, le=2**53)] = 0,
) -> TrainingLog:
    """What its process wrote, 64 KiB at most and the newest of it.

    Empty before the run begins, and where its worker keeps its files on another machine.
    """
    return run_log.read(TrainingService(session).get_by_id(training_id).id, after)


@router.post(
    "/{id}/cancel",
    status_code=202,
    summary="Cancel a run",
    responses=ACCEPTED | problems(errors.TrainingNotFound, errors.Conflict),
)
def cancel_training(training_id: TrainingId, session: SessionDep) -> TrainingResponse:
    """Stop the run; its state is saved first, so that it can be resumed."""
    return training_response(TrainingService(session).cancel(training_id))


@router.post(
    "/{id}/resume",
    status_code=202,
    summary="Resume a run",
    responses=ACCEPTED | problems(errors.TrainingNotFound, errors.Conflict, errors.NotReady),
)
def resume_training(training_id: TrainingId, session: SessionDep) -> TrainingResponse:
    """Go on with a cancelled or failed run from its last checkpoint, or from the start if there is none."""
    return training_response(TrainingService(session).resume(training_id))


@router.delete("/{id}", summary="Delete a run", responses=problems(errors.TrainingNotFound, errors.Conflict))
def delete_training(training_id: TrainingId, database: DatabaseDep) -> FreedBytes:
    """Remove a run that has ended, with everything it wrote: the SAE, its checkpoint, its curve."""
    return FreedBytes(freed_bytes=actions.delete_training(database, training_id))
