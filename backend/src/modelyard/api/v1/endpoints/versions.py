"""Endpoints of versions: updates of installed models, and rolling back."""

from typing import Annotated

from fastapi import APIRouter, Query

from modelyard.api.deps import RowAnswerDep, UpdatesDep, VersionsDep
from modelyard.api.hub_slots import TALKS_TO_A_HUB
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import HUB_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import ACCEPTED, RowId
from modelyard.core import errors
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.version import RollbackRequest, UpdatePlan

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)

_PLAN_PROBLEMS = (
    *HUB_PROBLEMS,
    errors.ModelNotFound,
    errors.Conflict,
    errors.NoWeights,
    errors.UnsafeWeights,
    errors.UnsupportedAdapter,
    errors.BaseMissing,
    errors.InvalidRepository,
)
_PROBLEMS = (
    *_PLAN_PROBLEMS,
    errors.AlreadyExists,
    errors.DiskFull,
    errors.UnsupportedArchitecture,
    errors.ExtraMissing,
)


@router.post(
    "/{id}/check-update",
    summary="Check for an update",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*HUB_PROBLEMS, errors.ModelNotFound, errors.Conflict),
)
def check_update(row_id: RowId, updates: UpdatesDep, answer: RowAnswerDep) -> ModelResponse:
    """Ask the model's Hub whether its branch has a newer commit; `update_available` holds the answer.

    The server also checks every few hours. `update` gets the newer version.
    """
    updates.check(row_id)
    return answer(row_id)


@router.get(
    "/{id}/update-plan",
    summary="Plan an update",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*_PLAN_PROBLEMS),
)
def plan_update(row_id: RowId, versions: VersionsDep) -> UpdatePlan:
    """Report what an update would change and download. Nothing is changed."""
    return versions.update_plan(row_id)


@router.post(
    "/{id}/update",
    status_code=202,
    summary="Update",
    dependencies=TALKS_TO_A_HUB,
    responses=ACCEPTED | problems(*_PROBLEMS),
)
def update_model(row_id: RowId, versions: VersionsDep, answer: RowAnswerDep) -> ModelResponse:
    """Get the newest version of the model's branch, or the pinned one, as another row.

    The model stays in use until the other row is ready, and also if it never is. Afterwards the model's name means the
    other row; this one stays until it is deleted. If the version is here already, it is used at once.
    """
    return answer(versions.update(row_id))


@router.get(
    "/{id}/rollback-plan",
    summary="Plan rolling back",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(*_PLAN_PROBLEMS),
)
def plan_rollback(
    row_id: RowId,
    versions: VersionsDep,
    commit: Annotated[
        str | None, Query(description="As in `rollback`.", pattern="^[0-9a-f]{7,64}$", examples=["e6de914"])
    ] = None,
) -> UpdatePlan:
    """Report what rolling back would change, and what it would download again. Nothing is changed."""
    return versions.rollback_plan(row_id, commit)


@router.post(
    "/{id}/rollback",
    status_code=202,
    summary="Roll back",
    dependencies=TALKS_TO_A_HUB,
    responses=ACCEPTED | problems(*_PROBLEMS),
)
def roll_back_model(
    row_id: RowId, versions: VersionsDep, answer: RowAnswerDep, request: RollbackRequest
) -> ModelResponse:
    """Use the version before, or another commit, again. If its files are gone, they are downloaded again first."""
    return answer(versions.rollback(row_id, request.commit))
