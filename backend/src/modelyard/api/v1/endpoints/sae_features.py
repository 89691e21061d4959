"""Endpoints of the features of sparse autoencoders."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from modelyard.api.deps import InferenceDep, SaeAnswerDep, SaeFeaturesDep, SaeJudgingDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import MODEL_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Offset
from modelyard.api.v1.endpoints.saes import FOR_WORK, SaeId
from modelyard.api.waiting import last_result
from modelyard.core import errors
from modelyard.schemas.sae import SaeFeaturesBuild, SaeResponse
from modelyard.schemas.sae_feature import (
    SaeFeature,
    SaeFeaturePage,
    SaeFeaturesForText,
    SaeFeatureSort,
    SaeTextFeatures,
)

router = APIRouter(prefix="/saes/{id}/features", tags=["saes"], route_class=PlainTextRoute)


@router.post("/build", status_code=202, summary="Build feature pages", responses=ACCEPTED | problems(*FOR_WORK))
def build_features(
    sae_id: SaeId, request: SaeFeaturesBuild, judging: SaeJudgingDep, answer: SaeAnswerDep
) -> SaeResponse:
    """Have the model read a text, and note where each feature is most active and which tokens it promotes.

    `features` says what the pages were built of once the work is done; earlier pages stay until then.
    """
    judging.start_features(sae_id, request)
    return answer(sae_id)


@router.get("", summary="List features", responses=problems(errors.SaeNotFound, errors.NotReady))
def list_features(
    sae_id: SaeId,
    features: SaeFeaturesDep,
    sort: Annotated[
        SaeFeatureSort,
        Query(description="`-` sorts descending. Features that are never active come last, but by `index`."),
    ] = "-density",
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=500)] = 100,
    offset: Offset = 0,
) -> SaeFeaturePage:
    """List the features of a sparse autoencoder whose pages were built, one page at a time."""
    return features.page(sae_id, sort=sort, limit=limit, offset=offset)


@router.post(
    "/for-text",
    summary="Features of a text",
    responses=problems(
        *(kind for kind in MODEL_PROBLEMS if kind is not errors.ModelNotFound),
        errors.SaeNotFound,
        errors.SaeEngineMissing,
        errors.TrainingIncompatible,
        errors.Conflict,
    ),
)
async def features_for_text(
    sae_id: SaeId, request: SaeFeaturesForText, features: SaeFeaturesDep, inference: InferenceDep, http: Request
) -> SaeTextFeatures:
    """Return which features are active on which tokens of a text, the most active first.

    The model is loaded if it is not. The text begins with the token that contexts began with in training.
    """
    job_id, model_id = await asyncio.to_thread(features.start_for_text, sae_id, request)
    found = await last_result(inference.follow(job_id), http)
    return await asyncio.to_thread(features.of_text, sae_id, model_id, dict(found))


@router.get(
    "/{n}", summary="One feature", responses=problems(errors.SaeNotFound, errors.NotReady, errors.InvalidRequest)
)
def get_feature(
    sae_id: SaeId,
    features: SaeFeaturesDep,
    index: Annotated[int, Path(alias="n", description="The feature's number.", ge=0, lt=2**31, examples=[1204])],
) -> SaeFeature:
    """Return a feature: where it is active and how much, passages, and the tokens it promotes and suppresses."""
    return features.feature(sae_id, index)
