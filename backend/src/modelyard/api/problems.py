"""Errors as RFC 9457 problem documents, and the one table that gives each its HTTP status."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY

from modelyard.core import errors
from modelyard.core.storage import storage_error
from modelyard.core.stored_text import clean_json
from modelyard.core.units import size
from modelyard.schemas import examples

logger = logging.getLogger(__name__)

STATUSES: dict[type[errors.ModelyardError], int] = {
    errors.InvalidRequest: 422,
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
    errors.DatasetNotFound: 404,
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
    errors.AlreadyQuantized: 422,
    errors.NoTokenizer: 422,
    errors.TemplateFailed: 422,
    errors.OutputNotFinite: 422,
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
    """The `responses=` of an endpoint that can fail in these ways."""
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
)


def problem_response(
    status: int, code: str, detail: str, hint: str | None = None, headers: dict[str, str] | None = None, **extra: Any
) -> JSONResponse:
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


def error_response(error: errors.ModelyardError) -> JSONResponse:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if "retry_after_seconds" in error.extra:
        headers["Retry-After"] = str(error.extra["retry_after_seconds"])
    return problem_response(status, error.code, error.message, error.hint, headers, **error.extra)


def too_large(limit_bytes: int, *, hint: str | None = None) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(f"The body is larger than {size(limit_bytes)}.", hint=hint, limit_bytes=limit_bytes)


def install(app: FastAPI) -> None:
    """Answer every failure with a problem document."""

    async def expected(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, errors.ModelyardError)  # noqa: S101 - FastAPI's handler type is wider than the truth
        return error_response(error)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        fields = [
            {"field": ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0]), "message": item["msg"]}
            for item in error.errors()
        ]
        first = fields[0]
        return problem_response(
            422,
            "invalid_request",
            f"{first['field']}: {first['message']}.",
            "Correct the request; /docs describes every field.",
            errors=fields,
        )

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == 413:
            return error_response(too_large(request.scope[MAX_BODY_SIZE_SCOPE_KEY]))
        if error.status_code == 400:
            # Starlette's word for a body that is not text at all; for a client it is the same mistake as bad JSON.
            return error_response(errors.InvalidRequest("The body is not JSON.", hint="Send JSON in UTF-8."))
        if error.status_code == 422:
            return error_response(errors.InvalidRequest(str(error.detail), hint="Send what JSON can say."))
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        return problem_response(
            error.status_code, code, str(error.detail), "/docs lists every call.", headers=dict(error.headers or {})
        )

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem_response(
            500, "internal_error", "The server met an unexpected error.", "Details are in the log of the API."
        )

    async def storage(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, OSError)  # noqa: S101
        translated = storage_error(error)
        if not isinstance(translated, errors.ModelyardError):
            raise error
        return error_response(translated)

    app.add_exception_handler(errors.ModelyardError, expected)
    app.add_exception_handler(OSError, storage)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
