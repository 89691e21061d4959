"""Errors as RFC 9457 problem documents, and the one table that gives each its HTTP status.

Under `/v1` the same errors have OpenAI's form instead.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.types import Scope

from modelyard.api.openai.form import is_openai, openai_response
from modelyard.core import errors
from modelyard.core.storage import storage_error
from modelyard.core.stored_text import clean_json
from modelyard.core.units import size
from modelyard.schemas import examples

logger = logging.getLogger(__name__)

STATUSES: dict[type[errors.ModelyardError], int] = {
    errors.InvalidRequest: 422,
    errors.UnsupportedParameter: 422,
    errors.ContextLengthExceeded: 422,
    errors.Unauthorized: 401,
    errors.ForbiddenOrigin: 403,
    errors.DatabaseUnavailable: 503,
    errors.TooManyAttempts: 429,
    errors.PayloadTooLarge: 413,
    errors.DatabaseDamaged: 503,
    errors.DatabaseTooNew: 503,
    errors.PathNotAllowed: 403,
    errors.ModelNotFound: 404,
    errors.TrainingNotFound: 404,
    errors.SaeNotFound: 404,
    errors.ActivationsNotFound: 404,
    errors.DatasetNotFound: 404,
    errors.BundleNotFound: 404,
    errors.HubModelNotFound: 404,
    errors.RevisionNotFound: 404,
    errors.GatedNoToken: 403,
    errors.GatedNotAccepted: 403,
    errors.TokenInvalid: 403,
    errors.AlreadyExists: 409,
    errors.ModelInUse: 409,
    errors.SharedCache: 409,
    errors.NotReady: 409,
    errors.Conflict: 409,
    errors.NoWeights: 422,
    errors.UnsafeWeights: 422,
    errors.InvalidRepository: 422,
    errors.UnsupportedArchitecture: 422,
    errors.NeedsCustomCode: 422,
    errors.UnsupportedAdapter: 422,
    errors.InvalidBundle: 422,
    errors.BaseMissing: 409,
    errors.AlreadyQuantized: 422,
    errors.NoTokenizer: 422,
    errors.TemplateFailed: 422,
    errors.OutputNotFinite: 422,
    errors.ExtraMissing: 409,
    errors.SaeEngineMissing: 409,
    errors.TrainingIncompatible: 422,
    errors.HubRateLimited: 503,
    errors.HubBusy: 503,
    errors.TooManyFiles: 422,
    errors.HubUnreachable: 502,
    errors.HubMisbehaved: 502,
    errors.ChecksumMismatch: 502,
    errors.HubError: 502,
    errors.DiskFull: 507,
    errors.StorageDenied: 507,
    errors.OutOfMemory: 507,
    errors.ModelyardError: 500,
}

MEDIA_TYPE = "application/problem+json"


def problems(*kinds: type[errors.ModelyardError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of an endpoint that can fail in these ways."""
    found: dict[int, dict[str, type[errors.ModelyardError]]] = {}
    # Every endpoint answers these; where it has others of the same status, they are named together.
    everywhere: tuple[type[errors.ModelyardError], ...] = (
        errors.InvalidRequest,
        errors.Unauthorized,
        errors.ForbiddenOrigin,
        errors.TooManyAttempts,
        errors.PayloadTooLarge,
        errors.DatabaseUnavailable,
        errors.DatabaseDamaged,
        errors.DiskFull,
        errors.StorageDenied,
    )
    for kind in (*everywhere, *kinds):
        found.setdefault(STATUSES[kind], {})[kind.code] = kind
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: " + ", ".join(f"`{code}`" for code in named),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"value": _example(kind)} for code, kind in named.items()},
                }
            },
        }
        for status, named in found.items()
    }


def _example(kind: type[errors.ModelyardError]) -> dict[str, Any]:
    return _body(STATUSES[kind], kind.code, **{"hint": kind.default_hint} | examples.PROBLEMS[kind.code])


HUB_PROBLEMS = (
    errors.InvalidRequest,
    errors.HubModelNotFound,
    errors.RevisionNotFound,
    errors.GatedNoToken,
    errors.GatedNotAccepted,
    errors.TokenInvalid,
    errors.HubRateLimited,
    errors.HubBusy,
    errors.TooManyFiles,
    errors.InvalidRepository,
    errors.HubUnreachable,
    errors.HubMisbehaved,
    errors.ExtraMissing,
)
MODEL_PROBLEMS = (
    errors.ModelNotFound,
    errors.NotReady,
    errors.BaseMissing,
    errors.ExtraMissing,
    errors.InvalidRepository,
    errors.NoWeights,
    errors.UnsupportedAdapter,
    errors.NoTokenizer,
    errors.TemplateFailed,
    errors.ContextLengthExceeded,
    errors.OutOfMemory,
    errors.UnsupportedArchitecture,
    errors.NeedsCustomCode,
)
"""What requests that load a model and give it a text can raise."""


def problem_response(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    param: str | None = None,
    **extra: Any,
) -> JSONResponse:
    """Answer the request of `scope` with an error, in the form that is usual at its address.

    `param` is the field that is at fault, which only OpenAI's form has.
    """
    if is_openai(scope):
        return openai_response(status, code, detail, hint, headers or {}, param)
    body = _body(status, code, detail, hint, **extra)
    # Errors quote what was sent and what files hold.
    return JSONResponse(clean_json(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _body(status: int, code: str, detail: str, hint: str | None, **extra: Any) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
        **extra,
    }


def status_of(error: errors.ModelyardError | type[errors.ModelyardError]) -> int:
    """Return the HTTP status of an error under `/api`."""
    kind = error if isinstance(error, type) else type(error)
    return next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)


def error_response(error: errors.ModelyardError, scope: Scope) -> JSONResponse:
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if "retry_after_seconds" in error.extra:
        headers["Retry-After"] = str(error.extra["retry_after_seconds"])
    return problem_response(scope, status, error.code, error.message, error.hint, headers, **error.extra)


def too_large(limit_bytes: int, *, hint: str | None = None) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(f"The body is larger than {size(limit_bytes)}.", hint=hint, limit_bytes=limit_bytes)


def install(app: FastAPI) -> None:
    """Answer every failure with a problem document."""
    app.add_exception_handler(errors.ModelyardError, _expected)
    app.add_exception_handler(OSError, _storage)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


# FastAPI's type of a handler is wider than what it is called with.


async def _expected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ModelyardError)  # noqa: S101
    return error_response(error, request.scope)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = error.errors()
    fields = [{"field": _field(item["loc"]), "message": item["msg"]} for item in found]
    first = fields[0]["field"]
    if is_openai(request.scope) and found[0]["type"] == "extra_forbidden":
        return error_response(errors.UnsupportedParameter(f"{first} is not supported.", param=first), request.scope)
    return problem_response(
        request.scope,
        422,
        "invalid_request",
        f"{first}: {fields[0]['message']}.",
        "Correct the request; /docs describes every field.",
        errors=fields,
        param=first,
    )


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    scope = request.scope
    if error.status_code == 413:
        return error_response(too_large(scope[MAX_BODY_SIZE_SCOPE_KEY]), scope)
    if error.status_code == 400:
        # Starlette's word for a body that is not text at all; for a client it is the same mistake as bad JSON.
        return error_response(errors.InvalidRequest("The body is not JSON.", hint="Send JSON in UTF-8."), scope)
    if error.status_code == 422:
        return error_response(errors.InvalidRequest(str(error.detail), hint="Send what JSON can say."), scope)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return problem_response(
        scope, error.status_code, code, str(error.detail), "/docs lists every call.", dict(error.headers or {})
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    hint = "Details are in the log of the API."
    return problem_response(request.scope, 500, "internal_error", "The server met an unexpected error.", hint)


async def _storage(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)  # noqa: S101
    translated = storage_error(error)
    if not isinstance(translated, errors.ModelyardError):
        raise error
    return error_response(translated, request.scope)
