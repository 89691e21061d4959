"""Getting models: pull, pause, resume, cancel."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format
from modelyard.commands._connect import (
    GET_PANEL,
    ClientCommand,
    HubModelArgument,
    Json,
    JsonOption,
    ModelArgument,
    QuantizationName,
    RevisionOption,
    WhichQuantization,
    asking_the_hub,
    connect,
    err,
    note,
    print_json,
    say,
)
from modelyard.commands._find_model import find_row
from modelyard.commands._progress import Shown, display
from modelyard.core.errors import AlreadyExists, Conflict

if TYPE_CHECKING:
    from modelyard.client.api_client import ApiClient

WAITING_SECONDS = 10.0
"""After so long without a worker the reason is looked for."""


def register(app: typer.Typer) -> None:
    for command in (pull, pause, resume, cancel):
        app.command(cls=ClientCommand, rich_help_panel=GET_PANEL)(command)


def pull(
    context: typer.Context,
    model_id: HubModelArgument,
    revision: RevisionOption = None,
    quantization: Annotated[
        QuantizationName, typer.Option("--quantization", "-q", help="The precision to keep it in.")
    ] = "none",
    drop_original: Annotated[
        bool, typer.Option("--drop-original", help="With -q: remove the unquantized files once the copy is ready.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Accept pickle weights where there are no safetensors.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a model and wait until it is ready.

    The server does the downloading: after Ctrl-C it goes on, and the same command follows it again.
    """
    if drop_original and quantization == "none":
        raise typer.BadParameter("It needs a quantized copy: add -q 8bit or -q 4bit.", param_hint="--drop-original")
    client = connect(context)
    begun = time.monotonic()
    row: Json | None = None
    try:
        request = {
            "model_id": model_id,
            "revision": revision,
            "quantization": quantization,
            "keep_original": not drop_original,
            "allow_pickle": allow_pickle,
        }
        with asking_the_hub(context, client):
            row, fresh = start(client, request)
        here_before = row["downloaded_bytes"]
        if row["status"] != "ready":
            row = follow(client, row)
    except KeyboardInterrupt:
        note(_left_running(client.url, row))
        raise typer.Exit(130) from None
    if as_json:
        print_json(row)
    elif fresh:
        took = _format.duration(time.monotonic() - begun)
        say(
            f"{row['model_id']} is ready: {_format.own_size(row)}{', the rest of it' if here_before else ''} in {took}."
        )
    else:
        say(f"{row['model_id']} is already here: {_format.own_size(row)}.")


def pause(context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None) -> None:
    """Stop a download and keep what was fetched."""
    row = _steer(context, "pause", model, quantization)
    say(f"{row['model_id']} is {'paused' if row['status'] == 'paused' else 'being paused'}.")
    note(f"`modelyard resume {row['id'][:8]}` goes on at the same byte.")


def resume(context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None) -> None:
    """Go on with a paused, failed or cancelled download."""
    row = _steer(context, "resume", model, quantization)
    say(f"{row['model_id']} goes on.")
    note("`modelyard ps` shows how far it is.")


def cancel(context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None) -> None:
    """Stop a download and remove what was fetched; of a model that is here, stop loading it."""
    row = _steer(context, "cancel", model, quantization)
    if row["status"] == "ready":
        say(f"Loading {row['model_id']} is being stopped.")
    else:
        say(f"{row['model_id']} is {'cancelled' if row['status'] == 'cancelled' else 'being cancelled'}.")


def _steer(context: typer.Context, action: str, model: str, quantization: str | None) -> Json:
    client = connect(context)
    row = find_row(client, model, quantization)
    return client.post(f"/models/{row['id']}/{action}")


def start(client: "ApiClient", request: Json) -> tuple[Json, bool]:
    """The row to follow, and whether its download was not finished before."""
    from modelyard.client.api_client import ApiError

    try:
        return client.post("/models/download", request), True
    except ApiError as error:
        if error.code != AlreadyExists.code or "id" not in error.extra:
            raise
        row = client.get(f"/models/{error.extra['id']}")
    if row["status"] == "paused":
        note(f"{row['model_id']} was paused; going on.")
        row = client.post(f"/models/{row['id']}/resume")
    return row, row["status"] != "ready"


def follow(
    client: "ApiClient", row: Json, *, again: str = "What was fetched is kept: the same pull goes on from there."
) -> Json:
    """Show progress until the model is ready. Raises ApiError with the reason when it will not be.

    `again` tells what to do after a failure.
    """
    waiting_since: float | None = time.monotonic()
    told_of_disk = False
    with display() as shown:
        for now in client.watch(row["id"]):
            shown.update(moment(now))
            match now["status"]:
                case "ready":
                    return now
                case "pending" | "downloading" | "quantizing":
                    told_of_disk = False
                case "paused" if _format.waits_for_disk(now) and err().is_terminal:
                    # A person makes room while this waits; a script is told at once.
                    if not told_of_disk:
                        told_of_disk = True
                        note(f"{now['error']['message']} {now['error']['hint']} Ctrl-C stops waiting here.")
                case _:
                    raise _stopped(now, again)
            if _format.phase(now) != _format.WAITING:
                waiting_since = None
            elif waiting_since is not None and time.monotonic() - waiting_since > WAITING_SECONDS:
                waiting_since = None
                note(why_waiting(client, "compute" if now["status"] == "quantizing" else "downloads"))
    raise AssertionError("watching ends only with a result")


def _stopped(row: Json, again: str) -> Exception:
    from modelyard.client.api_client import ApiError

    name, short = row["model_id"], row["id"][:8]
    if _format.waits_for_disk(row):
        error = row["error"]
        return ApiError(error["code"], f"{name} was paused. {error['message']}", error["hint"], id=row["id"])
    if row["status"] == "failed" and row["error"]:
        hint = f"{row['error']['hint']} {again}" if row["error"]["hint"] else again
        return ApiError(row["error"]["code"], row["error"]["message"], hint, id=row["id"])
    if row["status"] == "paused":
        return Conflict(f"{name} was paused.", hint=f"`modelyard resume {short}` goes on with it.", id=row["id"])
    return Conflict(f"{name} is {row['status']}.", hint="The same command starts it again.", id=row["id"])


def why_waiting(client: "ApiClient", queue: str) -> str:
    """Why nothing happens yet to work of a queue."""
    workers = client.get("/system")["workers"]
    if any(worker["alive"] and queue in worker["queues"] for worker in workers):
        return "It waits for its turn: other work comes first (`modelyard ps`)."
    return (
        f"No worker for {queue} is alive, so it waits. `modelyard worker --queues {queue}` starts one;"
        " `modelyard doctor` tells more."
    )


def _left_running(url: str, row: Json | None) -> str:
    if row is None:
        return f"Stopped before {url} answered. `modelyard ps` tells whether a download began."
    short = row["id"][:8]
    return (
        f"The download of {row['model_id']} goes on at {url}.\n"
        f"`modelyard cancel {short}` stops it, `modelyard pull {row['model_id']}` follows it again."
    )


def moment(row: Json) -> Shown:
    """What a row tells of the work on it; a ready one may still be loaded into memory."""
    progress = row["progress"]
    return Shown(
        name=row["model_id"],
        phase=_format.phase(row),
        done=progress["bytes_done"] if progress else 0,
        total=progress["bytes_total"] if progress else None,
        amounts=_format.amounts(progress),
        speed=_format.speed(progress),
        ended=row["status"] == "ready" and progress is None,
    )
