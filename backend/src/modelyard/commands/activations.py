"""Commands for activations in files: write them, follow, stop and delete."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.client.captures import follow_capture
from modelyard.client.progress import Shown
from modelyard.commands._connect import ClientCommand, Json, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import USE_PANEL, JsonOption, ModelArgument, WhichQuantization
from modelyard.commands._output import print_facts, print_json, print_table, say
from modelyard.commands._plan import changes
from modelyard.commands._progress import display, left_to_the_server
from modelyard.core.environment import expand_home
from modelyard.core.errors import ActivationsNotFound
from modelyard.core.units import size

if TYPE_CHECKING:
    from modelyard.client.answers import CapturePage, CaptureResponse, FreedBytes
    from modelyard.client.api_client import ApiClient

SetArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a set, or the id's first letters.")]
_ANSWER_SECONDS = 600.0
"""A model may have to be loaded first."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    for command in (start, ls, show, pause, resume, cancel, rm):
        group.command(cls=ClientCommand)(command)
    app.add_typer(group, name="activations", help="Write a model's activations to files.", rich_help_panel=USE_PANEL)


@changes
def start(
    context: typer.Context,
    model: ModelArgument,
    hook: Annotated[
        list[str], typer.Option("--hook", metavar="PATH", help="A hook point; may be given several times.")
    ],
    text: Annotated[list[str] | None, typer.Option("--text", help="A text; may be given several times.")] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", metavar="FILE", help="A .jsonl, .txt or .parquet file on the server.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column with the text.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="FIRST:END", help="Rows of the file, such as 0:1000.")] = None,
    positions: Annotated[str, typer.Option(help="all, last, or numbers with commas.")] = "all",
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the files.")] = "float32",
    max_tokens: Annotated[int | None, typer.Option(help="Cut each row off after so many tokens.", min=1)] = None,
    batch: Annotated[int, typer.Option(help="Rows that are run together.", min=1, max=1024)] = 8,
    quantization: WhichQuantization = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the activations of a model for texts to files, and wait for the end.

    The server writes and continues after Ctrl-C.
    """
    client = connect(context)
    request: Json = {
        "hook_points": hook,
        "positions": _positions(positions),
        "dtype": dtype,
        "max_tokens": max_tokens,
        "batch_size": batch,
        "save": True,
    }
    if text:
        request["texts"] = text
    if dataset is not None:
        request["dataset"] = {"path": str(expand_home(dataset).absolute()), "column": column, "rows": _rows(rows)}
    row = find_row(client, model, quantization)
    capture: CaptureResponse = client.post(f"/models/{row['id']}/activations", request, timeout_seconds=_ANSWER_SECONDS)
    if not detach:
        remark = f"The server goes on writing; `modelyard activations show {capture['id'][:8]}` shows how far it is."
        with left_to_the_server(remark), display() as shown:
            capture = follow_capture(client, capture, lambda now: shown.update(_shown(now)))
    _print(capture, as_json=as_json)


def ls(context: typer.Context, as_json: JsonOption = False) -> None:
    """List activations in files, newest first."""
    page: CapturePage = connect(context).get("/activations", limit=200)
    if as_json:
        print_json(page)
        return
    print_table(
        ("Model", "Hook points", "Status", "Tokens", "Size", "Id"),
        [
            (
                each["model_name"],
                ", ".join(each["hook_points"]),
                each["status"],
                "" if each["tokens"] is None else f"{each['tokens']:,}",
                _size(each),
                each["id"][:12],
            )
            for each in page["items"]
        ],
        right=("Tokens", "Size"),
    )


def show(context: typer.Context, capture: SetArgument, as_json: JsonOption = False) -> None:
    """Show one set: its progress, its size and where its files are."""
    _print(_find(connect(context), capture), as_json=as_json)


@changes
def pause(context: typer.Context, capture: SetArgument, as_json: JsonOption = False) -> None:
    """Stop writing and keep the files that are complete."""
    _steer(context, capture, "pause", as_json=as_json)


@changes
def resume(context: typer.Context, capture: SetArgument, as_json: JsonOption = False) -> None:
    """Resume what was paused or failed."""
    _steer(context, capture, "resume", as_json=as_json)


@changes
def cancel(context: typer.Context, capture: SetArgument, as_json: JsonOption = False) -> None:
    """Stop writing and remove the files."""
    _steer(context, capture, "cancel", as_json=as_json)


@changes
def rm(context: typer.Context, capture: SetArgument, as_json: JsonOption = False) -> None:
    """Delete a set that has ended, with its files."""
    client = connect(context)
    freed: FreedBytes = client.delete(f"/activations/{_find(client, capture)['id']}")
    if as_json:
        print_json(freed)
    else:
        say(f"Freed {size(freed['freed_bytes'])}.")


def _steer(context: typer.Context, text: str, verb: str, *, as_json: bool) -> None:
    client = connect(context)
    _print(client.post(f"/activations/{_find(client, text)['id']}/{verb}"), as_json=as_json)


def _find(client: "ApiClient", text: str) -> "CaptureResponse":
    page: CapturePage = client.get("/activations", limit=200)
    found = [each for each in page["items"] if each["id"].startswith(text.lower())]
    if len(found) != 1:
        what = f"{len(found)} sets have an id that begins with" if found else "There are no activations with the id"
        raise ActivationsNotFound(f"{what} {text!r}.", hint="`modelyard activations ls` lists them.")
    return found[0]


def _print(capture: "CaptureResponse", *, as_json: bool) -> None:
    if as_json:
        print_json(capture)
        return
    progress, error = capture["progress"], capture["error"]
    step = progress["step"] if progress else None
    print_facts(
        [
            ("model", capture["model_name"]),
            ("hook points", ", ".join(capture["hook_points"])),
            ("status", capture["status"]),
            ("batches", f"{step['done']} of {step['total']}" if step else None),
            ("tokens", None if capture["tokens"] is None else f"{capture['tokens']:,}"),
            ("size", _size(capture) or None),
            ("folder", capture["folder"]),
            ("error", error["message"] if error else None),
            ("id", capture["id"]),
        ]
    )


def _size(capture: "CaptureResponse") -> str:
    return "" if capture["estimated_bytes"] is None else size(capture["estimated_bytes"])


def _shown(capture: "CaptureResponse") -> Shown:
    progress = capture["progress"]
    phase = "waiting" if progress is None or progress["waiting"] else progress["phase"] or "waiting"
    done, total = (progress["bytes_done"], progress["bytes_total"]) if progress else (0, None)
    speed = progress["bytes_per_second"] if progress else None
    return Shown(
        name=capture["model_name"],
        phase=phase,
        done=done,
        total=total,
        amounts="" if total is None else f"{size(done)} of {size(total)}",
        speed="" if speed is None else f"{size(speed)}/s",
        ended=progress is None,
    )


def _positions(text: str) -> str | list[int]:
    if text in ("all", "last"):
        return text
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise typer.BadParameter("Use all, last, or numbers with commas.", param_hint="--positions") from None


def _rows(text: str | None) -> list[int] | None:
    if text is None:
        return None
    first, _, end = text.partition(":")
    try:
        return [int(first or 0), int(end)]
    except ValueError:
        raise typer.BadParameter("Use FIRST:END, such as 0:1000.", param_hint="--rows") from None
