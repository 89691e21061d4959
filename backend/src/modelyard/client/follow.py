"""Start a download and wait until the model is ready."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelyard.client.progress import Display, disk_error, shown_model, waits_for_worker
from modelyard.core.errors import AlreadyExists, Conflict

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse, System
    from modelyard.client.api_client import ApiClient, Json

WAITING_SECONDS = 10.0
"""After so long without a worker the reason is looked for."""

PULL_AGAIN = "What was fetched is kept; the same command continues from there."


def start(client: "ApiClient", request: "Json", note: Callable[[str], None]) -> "tuple[ModelResponse, bool]":
    """Ask the server for a download. Returns the row to follow, and whether it was not ready before."""
    row = post_or_find(client, "/models/download", request)
    if row["status"] == "paused":
        note(f"{row['model_id']} was paused; resuming it.")
        row = client.post(f"/models/{row['id']}/resume")
    return row, row["status"] != "ready"


def post_or_find(client: "ApiClient", path: str, request: "Json | None" = None) -> "ModelResponse":
    """Ask the server for work that makes a row. Returns the row, or the one that is there already."""
    from modelyard.client.api_client import ApiError

    try:
        made: ModelResponse = client.post(path, request)
    except ApiError as error:
        if error.code != AlreadyExists.code or "id" not in error.extra:
            raise
        row: ModelResponse = client.get(f"/models/{error.extra['id']}")
        return row
    return made


def follow_model(
    client: "ApiClient",
    row: "ModelResponse",
    display: Display,
    note: Callable[[str], None],
    *,
    wait_for_disk: bool = False,
    again: str = PULL_AGAIN,
) -> "ModelResponse":
    """Return the row once the model is ready. Raises ApiError with the reason when it will not be.

    `display` gets every change, `note` remarks such as why nothing happens. A download that a full disk has stopped
    ends this, unless `wait_for_disk`. `again` says what to do after a failure.
    """
    waiting_since: float | None = time.monotonic()
    told_of_disk = False
    for now in client.watch(row["id"]):
        display.update(shown_model(now))
        match now["status"]:
            case "ready":
                return now
            case "pending" | "downloading" | "quantizing":
                told_of_disk = False
            case "paused" if wait_for_disk and (error := disk_error(now)):
                if not told_of_disk:
                    told_of_disk = True
                    note(f"{error['message']} {error['hint']} Ctrl-C stops waiting here.")
            case _:
                raise _stopped(now, again)
        if not waits_for_worker(now):
            waiting_since = None
        elif waiting_since is not None and time.monotonic() - waiting_since > WAITING_SECONDS:
            waiting_since = None
            in_child = now["status"] == "quantizing" or now.get("merged_from") is not None
            note(why_waiting(client, "compute" if in_child else "downloads"))
    raise AssertionError("watching ends only with a result")


def _stopped(row: "ModelResponse", again: str) -> Exception:
    from modelyard.client.api_client import ApiError

    name, short = row["model_id"], row["id"][:8]
    if error := disk_error(row):
        return ApiError(error["code"], f"{name} was paused. {error['message']}", error["hint"], id=row["id"])
    if (error := row["error"]) and row["status"] == "failed":
        hint = f"{error['hint']} {again}" if error["hint"] else again
        return ApiError(error["code"], error["message"], hint, id=row["id"])
    if row["status"] == "paused":
        return Conflict(f"{name} was paused.", hint=f"`modelyard resume {short}` continues it.", id=row["id"])
    return Conflict(f"{name} is {row['status']}.", hint="The same command starts it again.", id=row["id"])


def why_waiting(client: "ApiClient", queue: str) -> str:
    """Return why work of a queue has not started yet."""
    system: System = client.get("/system")
    if any(worker["alive"] and queue in worker["queues"] for worker in system["workers"]):
        return "Waiting for other work to finish first (`modelyard ps`)."
    return (
        f"Waiting: no worker for {queue} is alive. `modelyard worker --queues {queue}` starts one;"
        " `modelyard doctor` has details."
    )
