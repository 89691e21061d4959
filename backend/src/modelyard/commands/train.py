"""Commands for training sparse autoencoders: start, follow, stop and resume runs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.client.follow import WAITING_SECONDS, why_waiting
from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, Json, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import (
    TRAIN_PANEL,
    DtypeName,
    JsonOption,
    PlanOption,
    WhichQuantization,
    YesOption,
    connection_of,
)
from modelyard.commands._output import note, print_facts, print_json, print_table, say
from modelyard.commands._plan import changes
from modelyard.commands._progress import display, left_to_the_server
from modelyard.commands._training_facts import plan_facts, run_facts, run_name, run_row, shown_run
from modelyard.core.environment import expand_home
from modelyard.core.errors import Conflict, InvalidRequest, TrainingIncompatible, TrainingNotFound
from modelyard.core.statuses import TrainingStatus

if TYPE_CHECKING:
    from modelyard.client.answers import (
        DatasetChoice,
        DatasetResponse,
        FreedBytes,
        ModelResponse,
        TrainingCompatibility,
        TrainingLog,
        TrainingPlan,
        TrainingResponse,
    )
    from modelyard.client.api_client import ApiClient

ArchitectureName = Literal["topk", "batchtopk", "matryoshka", "standard"]
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the id's first letters.")]


_SETTINGS = (
    "model_id", "hook_point", "dataset", "architecture", "expansion_factor", "k", "l1_coefficient", "training_tokens",
    "context_size", "batch_tokens", "learning_rate", "seed", "device", "dtype",
    "beginning", "skip_positions", "checkpoint_seconds",
)  # fmt: skip
_ANY_STATUS = ", ".join(TrainingStatus)
_LIST_IT = "`modelyard train ls` lists the runs."


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    for command in (start, ls, show, follow, log, cancel, resume, rm):
        group.command(cls=ClientCommand)(command)
    app.add_typer(
        group, name="train", help="Train sparse autoencoders on a model's activations.", rich_help_panel=TRAIN_PANEL
    )


def start(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="owner/name, a row's id, or the id's first letters.")
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", metavar="FILE", help="The text: .jsonl, .txt or .parquet, on the server's machine."),
    ] = None,
    earlier: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="An earlier run whose model, text and settings are the defaults."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column with the text; the only text column if left out.")
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload the file; automatic if the server is another machine.")
    ] = False,
    hook: Annotated[
        str | None,
        typer.Option(
            "--hook",
            metavar="PATH",
            help="The hook point (see `modelyard architecture`); the middle block's output if left out.",
        ),
    ] = None,
    quantization: WhichQuantization = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens to train on; 2,000,000.", min=1)] = None,
    architecture: Annotated[ArchitectureName | None, typer.Option(help="topk if left out.")] = None,
    expansion: Annotated[int | None, typer.Option(help="Features per dimension; 8.", min=2, max=64)] = None,
    k: Annotated[
        int | None, typer.Option("--k", help="Features active at once; 32, or 64 from a width of 1024.")
    ] = None,
    l1: Annotated[float | None, typer.Option("--l1", help="The penalty of `standard`; 1.0.")] = None,
    context_size: Annotated[
        int | None, typer.Option("--context", help="Tokens the model reads at once; 256.", min=32, max=4096)
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Activations per step; 4096.", min=64)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="0.0003.")] = None,
    seed: Annotated[int | None, typer.Option(help="0.", min=0)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda:0, …")] = None,
    dtype: Annotated[DtypeName | None, typer.Option(help="Dtype of an unquantized model; auto: as stored.")] = None,
    beginning: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", help="First token of every context: auto (the tokenizer's own), none, or a special token."
        ),
    ] = None,
    skip_positions: Annotated[
        int | None, typer.Option(help="First positions of a context that are not trained on; 2.", min=0, max=16)
    ] = None,
    checkpoint_seconds: Annotated[
        int | None, typer.Option(help="Seconds between two saved states; 600.", min=1)
    ] = None,
    dry_run: PlanOption = False,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a sparse autoencoder on one hook point of a model, and follow the run to its end.

    The server trains and continues after Ctrl-C.
    """
    if earlier is None and (not model or dataset is None):
        raise typer.BadParameter("Name a model and a text (--dataset), or an earlier run (--from).")
    client = connect(context)
    options = {
        "training_tokens": tokens,
        "architecture": architecture,
        "expansion_factor": expansion,
        "k": k,
        "l1_coefficient": l1,
        "context_size": context_size,
        "batch_tokens": batch,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "beginning": beginning,
        "skip_positions": skip_positions,
        "checkpoint_seconds": checkpoint_seconds,
    }
    # What is left out is the server's to choose.
    request: Json = {}
    if earlier is not None:
        run = find_run(client, earlier)
        request = _settings_of(run)
        if quantization is not None:
            model = model or run["model_name"]
    request |= {name: value for name, value in options.items() if value is not None}
    if dataset is not None:
        request["dataset"] = dataset_choice(client, dataset, column, upload=upload)
    elif column is not None:
        request["dataset"]["column"] = column
    if hook is not None:
        request["hook_point"] = hook
    if model:
        row = find_row(client, model, quantization)
        request["model_id"] = row["id"]
        if "hook_point" not in request:
            request["hook_point"] = _suggested(client, row)
    if dry_run:
        plan: TrainingPlan = client.post("/trainings/plan", request)
        print_json(plan) if as_json else print_facts(plan_facts(request, plan))
        if plan["refusal"]:
            raise typer.Exit(1)
        return
    started: TrainingResponse = client.post("/trainings", request)
    if detach:
        if as_json:
            print_json(started)
        else:
            say(f"The run {started['id'][:8]} on {started['hook_point']} is queued.")
            note(f"`modelyard train follow {started['id'][:8]}` shows its progress.")
        return
    _finish(client, started, as_json=as_json)


def ls(
    context: typer.Context,
    status: Annotated[
        list[TrainingStatus] | None, typer.Option(metavar="STATUS", help=f"{_ANY_STATUS}; may be given several times.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the training runs, the newest first."""
    page = connect(context).trainings(status=list(status or ()))
    if as_json:
        print_json(page)
    elif page["items"]:
        headings = ("MODEL", "QUANT", "HOOK POINT", "SAE", "STATE", "DONE", "ID")
        print_table(headings, map(run_row, page["items"]), wrap=("HOOK POINT", "SAE", "STATE", "DONE"))
    else:
        note(
            "No training run matches."
            if status
            else "No training run yet. `modelyard train start --help` explains how to start one."
        )


def show(context: typer.Context, run: RunArgument, as_json: JsonOption = False) -> None:
    """Show everything about one run."""
    found = find_run(connect(context), run)
    if as_json:
        print_json(found)
        return
    print_facts(run_facts(found))


def follow(context: typer.Context, run: RunArgument, as_json: JsonOption = False) -> None:
    """Show a run's progress until it ends."""
    client = connect(context)
    _finish(client, find_run(client, run), as_json=as_json)


def log(context: typer.Context, run: RunArgument) -> None:
    """Print the log of a run; times are in UTC."""
    client = connect(context)
    found = find_run(client, run)
    written: TrainingLog = client.get(f"/trainings/{found['id']}/log")
    if written["skipped_bytes"]:
        note(f"{_format.size(written['skipped_bytes'])} of older lines are left out.")
    if written["text"]:
        say(written["text"].rstrip("\n"))
    else:
        note("Nothing yet." if found["started_at"] is None else "The log is not on the server's machine.")


@changes
def cancel(context: typer.Context, run: RunArgument) -> None:
    """Stop a run and save its state, so that it can be resumed."""
    client = connect(context)
    now: TrainingResponse = client.post(f"/trainings/{find_run(client, run)['id']}/cancel")
    state = "cancelled" if now["status"] == "cancelled" else "saving its state and stopping"
    say(f"The run {now['id'][:8]} is {state}.")
    note(f"`modelyard train resume {now['id'][:8]}` resumes it.")


@changes
def resume(
    context: typer.Context,
    run: RunArgument,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Resume a cancelled or failed run from its last checkpoint, and follow it."""
    client = connect(context)
    now: TrainingResponse = client.post(f"/trainings/{find_run(client, run)['id']}/resume")
    if not detach:
        _finish(client, now, as_json=as_json)
    elif as_json:
        print_json(now)
    else:
        say(f"The run {now['id'][:8]} is resumed.")


@changes
def rm(
    context: typer.Context,
    run: RunArgument,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a finished run with its SAE, checkpoint and curve."""
    client = connect(context)
    found = find_run(client, run)
    if not yes and not connection_of(context).plan:
        what = "the trained SAE" if found["output_path"] else "what it has trained so far"
        note(f"Deleting {run_name(found)} removes {what} and its curve. The model and the text stay.")
        if not typer.confirm("Delete it?", err=True):
            note("Nothing was deleted.")
            raise typer.Exit(1)
    freed: FreedBytes = client.delete(f"/trainings/{found['id']}")
    print_json(freed) if as_json else say(f"Deleted {run_name(found)} and freed {_format.size(freed['freed_bytes'])}.")


def find_run(client: "ApiClient", text: str) -> "TrainingResponse":
    """Return the one run whose id begins with `text`. Raises TrainingNotFound, InvalidRequest."""
    found = [run for run in client.trainings()["items"] if run["id"].startswith(text.lower())]
    if not found or not text:
        raise TrainingNotFound(f"There is no training run {text!r}.", hint=_LIST_IT)
    if len(found) > 1:
        raise InvalidRequest(f"{text} may mean {len(found)} runs.", hint=f"Give more of the id; {_LIST_IT}")
    return found[0]


def _finish(client: "ApiClient", run: "TrainingResponse", *, as_json: bool) -> None:
    """Follow a run to its end and print the result. Raises ApiError or Conflict if it fails."""
    short = run["id"][:8]
    begun = time.monotonic()
    remark = (
        f"The run continues at {client.url}.\n"
        f"`modelyard train cancel {short}` stops it, `modelyard train follow {short}` follows it again."
    )
    with left_to_the_server(remark):
        run = _follow(client, run)
    if as_json:
        print_json(run)
        return
    took = _format.duration(time.monotonic() - begun)
    say(f"{run_name(run)} is trained in {took}: {_format.figures(run)}.")
    say(str(run["output_path"]))


def _follow(client: "ApiClient", run: "TrainingResponse") -> "TrainingResponse":
    from modelyard.client.api_client import ApiError

    again = f"`modelyard train resume {run['id'][:8]}` continues from its last checkpoint."
    waiting_since: float | None = time.monotonic()
    with display() as shown:
        for now in client.watch(run["id"], "training"):
            shown.update(shown_run(now))
            match now["status"]:
                case "completed":
                    return now
                case "failed" if error := now["error"]:
                    hint = f"{error['hint'] or ''} {again}".strip()
                    raise ApiError(error["code"], error["message"], hint, id=now["id"])
                case ("failed" | "cancelled") as ended:
                    raise Conflict(f"The run {now['id'][:8]} was {ended}.", hint=again, id=now["id"])
            if now["status"] != "pending":
                waiting_since = None
            elif waiting_since is not None and time.monotonic() - waiting_since > WAITING_SECONDS:
                waiting_since = None
                note(why_waiting(client, "compute"))
    raise AssertionError("watching ends only with a result")


def _settings_of(run: "TrainingResponse") -> Json:
    """Return the settings it was started with. Raises Conflict if its model was deleted."""
    if run["model_id"] is None:
        raise Conflict(f"The model of the run {run['id'][:8]} was deleted.", hint="Name another model.")
    return {name: value for name, value in run.items() if name in _SETTINGS}


def _suggested(client: "ApiClient", row: "ModelResponse") -> str:
    """Return the middle block's output. Raises TrainingIncompatible if there is none."""
    verdict: TrainingCompatibility = client.get(f"/models/{row['id']}/training-compatibility")
    blocks = [point for point in verdict["hook_points"] if point["kind"] == "residual" and point["layer"] is not None]
    if not blocks:
        raise TrainingIncompatible(
            f"{row['model_id']}: training is {_format.compatibility(verdict, verdict['level'])}",
            # Where no place is known, none could be named either.
            hint="Choose another model, or a hook point with --hook (`modelyard architecture` lists them)."
            if verdict["hook_points"]
            else "Choose another model.",
        )
    path = blocks[len(blocks) // 2]["path"]
    note(f"Training on {path}; --hook chooses another hook point.")
    return path


def dataset_choice(client: "ApiClient", file: Path, column: str | None, *, upload: bool) -> "DatasetChoice":
    """Return the data set for the request, uploaded if the server is another machine. Raises InvalidRequest."""
    path = expand_home(file).absolute()
    if not upload and client.is_local:
        return {"path": str(path), "column": column}
    if not path.is_file():
        raise InvalidRequest(f"{file} is no file on this machine.", hint="Name a .jsonl, .txt or .parquet file.")
    note(f"Sending {file.name} ({_format.size(path.stat().st_size)}) …")
    stored: DatasetResponse = client.upload("/datasets", path)
    return {"path": stored["path"], "column": column}
