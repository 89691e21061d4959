"""Errors as OpenAI's API answers them: what its clients turn into their own exceptions."""

from collections.abc import Mapping
from typing import Any

from starlette._utils import get_route_path  # what the router sees is what has to be judged
from starlette.responses import JSONResponse
from starlette.types import Scope

from modelyard.core import errors
from modelyard.core.stored_text import clean_json

PREFIX = "/v1/"
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def is_openai(scope: Scope) -> bool:
    """Return whether a request is for the API whose errors have OpenAI's form."""
    return get_route_path(scope).startswith(PREFIX)


def status_of(status: int, code: str) -> int:
    """Return the status of an error under `/v1`, given that of the same error under `/api`."""
    if code == errors.OutOfMemory.code:
        return 503
    return 400 if status == 422 else status


def openai_body(status: int, code: str, message: str, hint: str | None, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error; its `message` also says what to do next, as clients show nothing else."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    text = f"{message} {hint}" if hint else message
    return {"error": {"message": text, "type": kind, "code": code, "param": param}}


def openai_response(
    status: int, code: str, message: str, hint: str | None, headers: Mapping[str, str], param: str | None = None
) -> JSONResponse:
    """Answer with an error whose `status` is that under `/api`."""
    status = status_of(status, code)
    # OpenAI's client asks again after any 5xx; a model that does not fit would be loaded three times in vain.
    never_again = {"x-should-retry": "false"} if code == errors.OutOfMemory.code else {}
    # Errors quote what was sent and what files hold.
    body = clean_json(openai_body(status, code, message, hint, param))
    return JSONResponse(body, status, headers={**headers, **never_again})
