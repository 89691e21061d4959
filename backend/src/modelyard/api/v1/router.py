"""All of `/api/v1`."""

from fastapi import APIRouter

from modelyard.api.v1.endpoints import datasets, events, models, settings, system, trainings

router = APIRouter(prefix="/api/v1")
for part in (models, trainings, datasets, system, settings, events):
    router.include_router(part.router)
