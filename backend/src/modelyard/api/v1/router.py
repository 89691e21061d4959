"""All of `/api/v1`."""

from fastapi import APIRouter

from modelyard.api.v1.endpoints import events, models, settings, system

router = APIRouter(prefix="/api/v1")
for part in (models, system, settings, events):
    router.include_router(part.router)
