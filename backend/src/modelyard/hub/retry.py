"""The retry policy of all calls to a Hub: what to retry, how long to wait, when to give up."""

import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import httpx2
import urllib3.exceptions as urllib3_errors
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from modelyard.core.errors import HubError, HubRateLimited, HubUnreachable

Result = TypeVar("Result")

HUB_IN_TROUBLE = (
    "That is the Hub's own trouble: try again in a few minutes, set another endpoint in Settings, or use the built-in"
    " sample Hub (`modelyard hub builtin`)."
)
"""What to do where a Hub answers with an error of its own: network and proxy are in order then."""

_TRANSIENT_STATUSES = {408, 425, 429}
_LASTING_STATUSES = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.INSUFFICIENT_STORAGE)
_TRANSIENT_HTTPX = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)
_TRANSIENT_URLLIB3 = (
    urllib3_errors.TimeoutError,
    urllib3_errors.ProtocolError,
    urllib3_errors.ProxyError,
    urllib3_errors.SSLError,
    urllib3_errors.MaxRetryError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with jitter. `attempts` counts failures in a row in which nothing was gained."""

    attempts: int = 6
    first_wait_seconds: float = 0.5
    max_wait_seconds: float = 30.0
    max_retry_after_seconds: float = 300.0

    def wait_seconds(self, failures: int, retry_after_seconds: float | None = None) -> float:
        """Return how long to wait after this many failures in a row (1, 2, …)."""
        if retry_after_seconds is not None:
            # A little more than asked, and not the same for everyone who was asked.
            return min(retry_after_seconds, self.max_retry_after_seconds) + random.uniform(0, 0.25)  # noqa: S311
        ceiling = min(self.first_wait_seconds * 2.0 ** (failures - 1), self.max_wait_seconds)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311


class Transient(Exception):
    """A failure that may pass. `final` is the error to raise after the last attempt, with `hint` if it has one."""

    def __init__(
        self,
        reason: str,
        *,
        retry_after_seconds: float | None = None,
        final: type[HubError] = HubUnreachable,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.final = final
        self.hint = hint


def as_transient(error: BaseException) -> Transient | None:
    """Return the failure as Transient, None if retrying is pointless.

    Understands what huggingface_hub, its HTTP client, urllib3 and sockets raise. Refusals (401, 403, 404, …),
    a certificate that is not trusted and errors of this machine's disk are not transient.
    """
    if isinstance(error, Transient):
        return error
    if isinstance(error, OfflineModeIsEnabled) or is_untrusted_certificate(error):
        return None
    if isinstance(error, HfHubHTTPError):
        return transient_status(error.response.status_code, error.response.headers.get("Retry-After"))
    if isinstance(error, (*_TRANSIENT_HTTPX, *_TRANSIENT_URLLIB3, ConnectionError, TimeoutError, ssl.SSLError)):
        return Transient(_connection_reason(error))
    return None


def transient_status(status: int, retry_after: str | None = None) -> Transient | None:
    """Return a Transient for an HTTP status and its Retry-After header (seconds or a date), None as above."""
    if status in _LASTING_STATUSES or (status not in _TRANSIENT_STATUSES and status < 500):
        return None
    seconds = _parse_retry_after(retry_after) if retry_after else None
    final = HubRateLimited if status == 429 else HubUnreachable
    hint = HUB_IN_TROUBLE if status >= 500 else None
    return Transient(f"HTTP {status}", retry_after_seconds=seconds, final=final, hint=hint)


def call_with_retries(
    call: Callable[[], Result],
    *,
    policy: RetryPolicy,
    on_wait: Callable[[float, str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Return `call()`, retried by the policy; `on_wait(seconds, reason)` is called before each wait.

    Failures that are not transient, and the last one, are raised unchanged, for the caller to translate.
    """
    for failures in range(1, policy.attempts + 1):
        try:
            return call()
        except Exception as error:
            transient = as_transient(error)
            if transient is None or failures == policy.attempts:
                raise
            seconds = policy.wait_seconds(failures, transient.retry_after_seconds)
            if on_wait is not None:
                on_wait(seconds, transient.reason)
            sleep(seconds)
    raise ValueError("a retry policy needs at least one attempt")


def _parse_retry_after(value: str) -> float | None:
    if value.strip().isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def is_untrusted_certificate(error: BaseException | None) -> bool:
    """Return whether a connection failed because the other side's certificate is not trusted."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _connection_reason(error: BaseException) -> str:
    if isinstance(error, httpx2.ProxyError):
        return str(error)  # HubTransport's words, which name the variable
    text = str(error).lower()
    for sign, reason in (
        ("reset", "connection reset"),
        ("refused", "connection refused"),
        ("name resolution", "the host name cannot be resolved"),
        ("name or service not known", "the host name cannot be resolved"),
        ("incompleteread", "connection closed early"),
        ("without response", "connection closed early"),
        ("unreachable", "network unreachable"),
        ("proxy", "the proxy does not answer"),
    ):
        if sign in text:
            return reason
    timeouts = (TimeoutError, httpx2.TimeoutException, urllib3_errors.TimeoutError)
    return "no answer in time" if isinstance(error, timeouts) else "connection lost"
