"""Endpoints of the settings that can be changed while the server runs."""

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from modelyard.api.deps import DatabaseDep, ReadingDep, SessionDep
from modelyard.api.hub_slots import TALKS_TO_A_HUB
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.core import errors
from modelyard.schemas.system import HubAnswer, HubTestRequest, SettingsResponse, SettingsUpdate
from modelyard.services import system_service
from modelyard.services.settings_service import SettingsService

router = APIRouter(prefix="/settings", tags=["settings"], route_class=PlainTextRoute)


@router.get("", summary="Read settings")
def get_settings(session: ReadingDep) -> SettingsResponse:
    """Return the current settings. Of a Hub token, only whether one is stored."""
    return _response(session)


@router.put("", summary="Change settings", responses=problems(errors.InvalidRequest, errors.TokenInvalid))
def update_settings(update: SettingsUpdate, session: SessionDep, request: Request) -> SettingsResponse:
    """Change the given settings; null resets one to its default. Limits also apply to running downloads.

    A token is stored for the endpoint in the same request, otherwise for the current one. It is sent to no other Hub.
    """
    settings = SettingsService(session)
    settings.update(update)
    if "token" in update.model_fields_set:
        settings.store_token(update.token)
    request.app.state.hub_watch.forget()
    return _response(session)


@router.post(
    "/test",
    summary="Test a Hub or a token",
    dependencies=TALKS_TO_A_HUB,
    responses=problems(errors.InvalidRequest, errors.HubBusy),
)
def try_hub(attempt: HubTestRequest, database: DatabaseDep, request: Request) -> HubAnswer:
    """Test whether a Hub answers and whose the token is. Nothing is stored."""
    with database.reading() as session:
        client = SettingsService(session).client_to_try(attempt)
    answer = system_service.hub_answer(client)
    request.app.state.hub_watch.forget()
    return answer


def _response(session: Session) -> SettingsResponse:
    settings = SettingsService(session)
    transfers = settings.transfers()
    client = settings.hub_client()
    return SettingsResponse(
        endpoint=settings.endpoint_url(),
        endpoint_source=settings.endpoint_source(),
        parallel_downloads=transfers.parallel_downloads,
        connections=transfers.connections,
        bandwidth_limit_bytes_per_second=transfers.bandwidth_limit_bytes_per_second,
        download_order=transfers.download_order,
        token_set=not client.is_builtin and client.has_token(),
        token_note=client.missing_token_note(),
        defaults=settings.defaults(),
        prefer_fast_dtype=settings.prefer_fast_dtype(),
    )
