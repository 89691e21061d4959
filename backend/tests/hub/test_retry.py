"""What is worth trying again, and how long to wait for it."""

import errno
import ssl
import time
from email.utils import formatdate
from typing import Any

import httpx2
import pytest
import urllib3.exceptions as urllib3_errors
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from modelyard.core.errors import HubRateLimited, HubUnreachable
from modelyard.hub.retry import RetryPolicy, Transient, as_transient, call_with_retries, transient_status

QUICK = RetryPolicy(attempts=3, first_wait_seconds=0.0)


def hub_error(status: int, kind: type[HfHubHTTPError] = HfHubHTTPError, **headers: str) -> HfHubHTTPError:
    request = httpx2.Request("GET", "http://hub.test")
    return kind("no", response=httpx2.Response(status, headers=headers, request=request))


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ConnectError("Connection refused"), "connection refused"),
        (httpx2.ReadError("[Errno 104] Connection reset by peer"), "connection reset"),
        (httpx2.ReadTimeout(""), "no answer in time"),
        (httpx2.RemoteProtocolError("Server disconnected without response"), "connection closed early"),
        (httpx2.ConnectError("[Errno -3] Temporary failure in name resolution"), "the host name cannot be resolved"),
        (urllib3_errors.ProtocolError("Connection broken: IncompleteRead(3 bytes read)"), "connection closed early"),
        (urllib3_errors.ReadTimeoutError(None, None, "Read timed out."), "no answer in time"),  # type: ignore[arg-type]
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "connection reset"),
        (TimeoutError("timed out"), "no answer in time"),
        (hub_error(503), "HTTP 503"),
        (hub_error(429), "HTTP 429"),
        (hub_error(408), "HTTP 408"),
        (hub_error(401), None),
        (hub_error(403), None),
        (hub_error(404, RepositoryNotFoundError), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (OfflineModeIsEnabled("offline"), None),
        (caused_by(httpx2.ConnectError("tls"), ssl.SSLCertVerificationError("self-signed")), None),
        (ValueError("x"), None),
    ],
    ids=repr,
)
def test_what_may_pass(error: Exception, reason: str | None) -> None:
    found = as_transient(error)
    assert (found.reason if found else None) == reason


def test_a_rate_limit_ends_as_one() -> None:
    limited, broken = transient_status(429, "7"), transient_status(500)
    assert limited is not None
    assert broken is not None
    assert (limited.final, limited.retry_after_seconds) == (HubRateLimited, 7.0)
    assert (broken.final, broken.retry_after_seconds) == (HubUnreachable, None)


@pytest.mark.parametrize("status", [404, 501, 507])
def test_what_waiting_does_not_mend_is_not_waited_for(status: int) -> None:
    assert transient_status(status) is None


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("3", 3, 3), ("in a minute", 50, 61), (formatdate(0, usegmt=True), 0, 0)],
)
def test_retry_after_is_seconds_or_a_date(value: str, low: float, high: float) -> None:
    if value == "in a minute":
        value = formatdate(time.time() + 60, usegmt=True)
    found = transient_status(503, value)
    assert found is not None
    assert found.retry_after_seconds is not None
    assert low <= found.retry_after_seconds <= high
    nonsense = transient_status(503, "soon")
    assert nonsense is not None
    assert nonsense.retry_after_seconds is None


def test_waits_grow_up_to_a_ceiling_and_are_not_all_the_same() -> None:
    policy = RetryPolicy(first_wait_seconds=1, max_wait_seconds=10, max_retry_after_seconds=100)
    for failures, ceiling in enumerate([1, 2, 4, 8, 10, 10], start=1):
        waits = {policy.wait_seconds(failures) for _ in range(20)}
        assert len(waits) > 1
        assert all(ceiling / 2 <= wait <= ceiling for wait in waits)
    assert 5 <= policy.wait_seconds(1, 5) <= 5.25
    assert policy.wait_seconds(1, 10**6) <= 100.25


class Flaky:
    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_call_is_repeated_until_it_succeeds_and_the_waits_are_told() -> None:
    call = Flaky(hub_error(503), Transient("connection reset"), "answer")
    told: list[str] = []
    slept: list[float] = []
    policy = RetryPolicy(attempts=3, first_wait_seconds=1)
    found = call_with_retries(call, policy=policy, on_wait=lambda _, reason: told.append(reason), sleep=slept.append)
    assert found == "answer"
    assert told == ["HTTP 503", "connection reset"]
    assert len(slept) == 2
    assert slept[1] > slept[0] / 2


def test_call_gives_up_after_its_attempts_with_the_last_error() -> None:
    call = Flaky(*[hub_error(500) for _ in range(9)])
    with pytest.raises(HfHubHTTPError):
        call_with_retries(call, policy=QUICK)
    assert call.calls == 3


def test_refusal_is_raised_at_once() -> None:
    call = Flaky(hub_error(404), "never")
    with pytest.raises(HfHubHTTPError):
        call_with_retries(call, policy=QUICK)
    assert call.calls == 1
