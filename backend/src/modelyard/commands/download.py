"""Commands that download models: pull, pause, resume, cancel."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.client.follow import start
from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, asking_the_hub, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import (
    GET_PANEL,
    AllowUnsupportedOption,
    JsonOption,
    ModelArgument,
    PlanOption,
    RevisionOption,
    WhichQuantization,
)
from modelyard.commands._output import note, note_failure, print_json, say
from modelyard.commands._plan import changes, print_plan
from modelyard.commands._progress import follow
from modelyard.commands._wanted import address, expand, plan_downloads, read_list
from modelyard.core.errors import ModelyardError
from modelyard.core.statuses import QuantizationName

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse
    from modelyard.client.api_client import ApiClient, Json


def register(app: typer.Typer) -> None:
    for command in (pull, pause, resume, cancel):
        app.command(cls=ClientCommand, rich_help_panel=GET_PANEL)(command)


def pull(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL_ID]...",
            help="owner/name[@revision], hf://owner/name, a model page's address, or a collection of models.",
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="Names of models, one a line, # for comments; - for stdin."),
    ] = None,
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
    allow_unsupported: AllowUnsupportedOption = False,
    gguf: Annotated[
        str | None, typer.Option("--gguf", metavar="FILE", help="Fetch this GGUF file and convert it to safetensors.")
    ] = None,
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Of an adapter: download the model it changes, too, unless it is here.")
    ] = False,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download models and wait until they are ready.

    The server downloads. Ctrl-C only stops watching; the same command follows the download again.
    """
    if drop_original and quantization == "none":
        raise typer.BadParameter("It needs a quantized copy: add -q 8bit or -q 4bit.", param_hint="--drop-original")
    names = [*(models or ()), *(read_list(file) if file is not None else ())]
    if not all(name.strip() for name in names):
        raise typer.BadParameter("A name is empty. Give a model's name, such as owner/name.", param_hint="MODEL_ID")
    if not names:
        raise typer.BadParameter("Name a model, or a file with names: -f FILE.", param_hint="MODEL_ID")
    client = connect(context)
    wanted = [model for name in names for model in expand(context, client, name)]
    several = len(wanted) != 1 or file is not None or wanted != names
    if several and (gguf is not None or revision is not None):
        raise typer.BadParameter(
            "It is of one model. Write owner/name@revision instead." if gguf is None else "It is of one model.",
            param_hint="--gguf" if gguf is not None else "--revision",
        )
    options = {
        "quantization": quantization,
        "keep_original": not drop_original,
        "allow_pickle": allow_pickle,
        "allow_unsupported": allow_unsupported,
        "gguf_file": gguf,
        "with_base": with_base,
    }
    requests: list[Json] = [{"model_id": address(name), "revision": revision, **options} for name in wanted]
    if plan:
        with asking_the_hub(context, client):
            steps, failed = plan_downloads(client, requests)
        print_plan(steps, as_json=as_json)
        if failed:
            raise typer.Exit(1)
    elif several:
        _pull_all(context, client, requests, as_json=as_json)
    else:
        row, text = _pull(context, client, requests[0])
        print_json(row) if as_json else say(text)


def _pull(context: typer.Context, client: "ApiClient", request: "Json") -> "tuple[ModelResponse, str]":
    """Have a model downloaded and wait until it is ready; returns it, and what to say of it."""
    begun = time.monotonic()
    row: ModelResponse | None = None
    try:
        with asking_the_hub(context, client):
            row, fresh = start(client, request, note)
        here_before = row["downloaded_bytes"]
        if request["with_base"] and (base_id := row.get("base_id")):
            _follow_base(client, base_id)
        if row["status"] != "ready":
            row = follow(client, row)
    except KeyboardInterrupt:
        note(_left_running(client.url, row))
        raise typer.Exit(130) from None
    if not fresh:
        return row, f"{row['model_id']} is already installed: {_format.own_size(row)}."
    took = _format.duration(time.monotonic() - begun)
    return row, f"{row['model_id']} is ready: {_format.own_size(row)}{', the rest' if here_before else ''} in {took}."


def _pull_all(context: typer.Context, client: "ApiClient", requests: "list[Json]", *, as_json: bool) -> None:
    """Download models one after the other, go on after a failure, and end with 1 if there was one."""
    from modelyard.client.api_client import ServerUnreachable

    rows: list[ModelResponse] = []
    failed: list[str] = []
    for request in requests:
        try:
            row, text = _pull(context, client, request)
        except ServerUnreachable:
            raise
        except ModelyardError as error:
            failed.append(request["model_id"])
            note_failure(request["model_id"], error)
        else:
            rows.append(row)
            if not as_json:
                say(text)
    if as_json:
        print_json(rows)
    else:
        lost = f"; not {', '.join(failed)}" if failed else ""
        say(f"{len(rows)} of {len(requests)} models are ready{lost}.")
    if failed:
        raise typer.Exit(1)


def _follow_base(client: "ApiClient", base_id: str) -> None:
    """Wait until the base of an adapter is ready, and say so; nothing if it is."""
    base: ModelResponse = client.get(f"/models/{base_id}")
    if base["status"] != "ready":
        base = follow(client, base)
        note(f"{base['model_id']} is ready: {_format.own_size(base)}.")


@changes
def pause(context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None) -> None:
    """Stop a download and keep what was fetched."""
    row = _steer(context, "pause", model, quantization)
    say(f"{row['model_id']} is {'paused' if row['status'] == 'paused' else 'being paused'}.")
    note(f"`modelyard resume {row['id'][:8]}` continues at the same byte.")


@changes
def resume(context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None) -> None:
    """Resume a paused, failed or cancelled download."""
    row = _steer(context, "resume", model, quantization)
    say(f"{row['model_id']} is resumed.")
    note("`modelyard ps` shows its progress.")


@changes
def cancel(context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None) -> None:
    """Stop a download and remove what was fetched, or stop loading an installed model."""
    row = _steer(context, "cancel", model, quantization)
    if row["status"] == "ready":
        say(f"Loading {row['model_id']} is being stopped.")
    else:
        say(f"{row['model_id']} is {'cancelled' if row['status'] == 'cancelled' else 'being cancelled'}.")


def _steer(context: typer.Context, action: str, model: str, quantization: str | None) -> "ModelResponse":
    client = connect(context)
    row = find_row(client, model, quantization, unfinished=True)
    steered: ModelResponse = client.post(f"/models/{row['id']}/{action}")
    return steered


def _left_running(url: str, row: "ModelResponse | None") -> str:
    if row is None:
        return f"Stopped before {url} answered. `modelyard ps` shows whether the download started."
    short = row["id"][:8]
    return (
        f"The download of {row['model_id']} continues at {url}.\n"
        f"`modelyard cancel {short}` stops it, `modelyard pull {row['model_id']}` follows it again."
    )
