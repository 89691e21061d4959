"""Waiting for activations that a server writes to files."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelyard.core.errors import Conflict

if TYPE_CHECKING:
    from modelyard.client.answers import CaptureResponse
    from modelyard.client.api_client import ApiClient

POLL_SECONDS = 0.3


def follow_capture(
    client: "ApiClient", capture: "CaptureResponse", on_change: Callable[["CaptureResponse"], None]
) -> "CaptureResponse":
    """Return the set once it is complete. Raises ApiError with the reason for a failure, Conflict where it stopped."""
    from modelyard.client.api_client import ApiError

    while capture["status"] in ("pending", "running"):
        on_change(capture)
        time.sleep(POLL_SECONDS)
        capture = client.get(f"/activations/{capture['id']}")
    if (error := capture["error"]) and capture["status"] == "failed":
        raise ApiError(error["code"], error["message"], error["hint"], id=capture["id"])
    if capture["status"] != "completed":
        hint = (
            f"`modelyard activations resume {capture['id'][:8]}` continues it." if capture["status"] == "paused" else ""
        )
        raise Conflict(f"The activations are {capture['status']}.", hint=hint or "Ask for new ones.")
    return capture
