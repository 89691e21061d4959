"""Endpoints about the machine and the server."""

import hmac

from fastapi import APIRouter, Request, Response

from modelyard.api.body_limit import MAX_SIGN_IN_BYTES
from modelyard.api.deps import DatabaseDep, ReadingDep
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import problems
from modelyard.api.security import COOKIE, session_token
from modelyard.core import errors
from modelyard.core.settings import get_settings
from modelyard.schemas.system import SessionRequest, System
from modelyard.services import system_service
from modelyard.services.system_service import HubWatch

router = APIRouter(tags=["system"], route_class=PlainTextRoute)


@router.get("/system", summary="Machine and server")
def get_system(request: Request, session: ReadingDep, database: DatabaseDep) -> System:
    """Return devices with their free memory, disks, the state of the Hub, library versions and workers."""
    watch: HubWatch = request.app.state.hub_watch
    return system_service.system(session, lambda: watch.status(database))


@router.post(
    "/session",
    status_code=204,
    summary="Sign in",
    responses=problems(errors.Unauthorized, errors.TooManyAttempts),
    max_body_size=MAX_SIGN_IN_BYTES,
)
async def sign_in(credentials: SessionRequest, response: Response, request: Request) -> None:
    """Exchange the server's key for a session cookie. Browsers need it if `MODELYARD_API_KEY` is set."""
    key = get_settings().api_key
    if key is None:
        raise errors.Unauthorized("This server has no key.", hint="Use it without signing in.")
    if not _same(credentials.api_key.strip(), key.get_secret_value()):
        raise request.app.state.wrong_keys.note(request.client.host if request.client else None)
    response.set_cookie(
        COOKIE,
        session_token(key.get_secret_value()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        max_age=30 * 24 * 3600,
    )


@router.delete("/session", status_code=204, summary="Sign out")
async def sign_out(response: Response) -> None:
    """Forget the session cookie of this browser. Other browsers stay signed in until the key changes."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def _same(given: str, key: str) -> bool:
    return hmac.compare_digest(session_token(given), session_token(key))
