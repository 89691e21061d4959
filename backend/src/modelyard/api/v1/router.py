"""The router of `/api/v1`."""

from fastapi import APIRouter

from modelyard.api.v1.endpoints import (
    compare,
    datasets,
    events,
    hub_models,
    inference,
    local_models,
    models,
    saes,
    settings,
    system,
    trainings,
)

router = APIRouter(prefix="/api/v1")
# `models` comes after what has fixed paths, which win over its `{id}`.
for part in (hub_models, local_models, inference, compare, models, trainings, saes, datasets, system, settings, events):
    router.include_router(part.router)
