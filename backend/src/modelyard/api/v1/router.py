"""The router of `/api/v1`."""

from fastapi import APIRouter

from modelyard.api.v1.endpoints import (
    activations,
    bundles,
    compare,
    datasets,
    events,
    hub_models,
    inference,
    local_models,
    models,
    sae_features,
    saes,
    settings,
    system,
    trainings,
    versions,
)

router = APIRouter(prefix="/api/v1")
# `models` comes after what has fixed paths, which win over its `{id}`.
with_fixed_paths = (hub_models, local_models, inference, activations, compare)
of_rows = (models, versions, trainings, saes, sae_features, datasets, bundles)
for part in (*with_fixed_paths, *of_rows, system, settings, events):
    router.include_router(part.router)
