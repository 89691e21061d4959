"""The command that makes a smaller copy of a model."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.client.follow import post_or_find
from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import Ambiguous, find_row
from modelyard.commands._options import USE_PANEL, JsonOption, ModelArgument
from modelyard.commands._output import print_json, say
from modelyard.commands._plan import changes
from modelyard.commands._progress import follow, left_to_the_server
from modelyard.core.statuses import CopyQuantizationName

if TYPE_CHECKING:
    from modelyard.client.answers import DeletionReport, ModelResponse
    from modelyard.client.api_client import ApiClient


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(quantize)


@changes
def quantize(
    context: typer.Context,
    model: ModelArgument,
    quantization: Annotated[
        CopyQuantizationName, typer.Option("--quantization", "-q", help="The precision of the copy.")
    ],
    drop_original: Annotated[
        bool, typer.Option("--drop-original", help="Remove the unquantized files once the copy is ready.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a quantized copy of an installed model; later loads use it directly.

    The server does the work and continues after Ctrl-C.
    """
    client = connect(context)
    begun = time.monotonic()
    source = _source(client, model)
    row, fresh = _start_quantizing(client, source, quantization, keep_original=not drop_original)
    if row["status"] != "ready":
        short = row["id"][:8]
        with left_to_the_server(f"Quantizing {row['model_id']} continues at {client.url}. `modelyard ps` shows it."):
            row = follow(client, row, again=f"`modelyard resume {short}` tries again.")
    if as_json:
        print_json(row)
        return
    took = f" in {_format.duration(time.monotonic() - begun)}" if fresh else ""
    say(f"{row['model_id']} in {quantization} is {'ready' if fresh else 'already installed'}{took}.")
    plan: DeletionReport = client.delete(f"/models/{row['id']}", dry_run=True)
    say(f"{_format.size(plan['freed_bytes'])} on disk, {_format.size(row['memory_measured_bytes'])} in memory.")
    if row["drift"]:
        say(_format.drift(row["drift"]))
    if drop_original:
        now = next((other for other in client.models()["items"] if other["id"] == source["id"]), None)
        # Its row may still be there while the files are being removed.
        kept = now is not None and now["status"] != "deleting"
        original = f"The unquantized files ({_format.size(source['disk_bytes'])})"
        say(f"{original} are kept: something else uses them." if kept else f"{original} were removed.")


def _source(client: "ApiClient", model: str) -> "ModelResponse":
    """Return the row to quantize: the unquantized one if several match the name."""
    try:
        return find_row(client, model)
    except Ambiguous:
        return find_row(client, model, "none")


def _start_quantizing(
    client: "ApiClient", source: "ModelResponse", quantization: str, *, keep_original: bool
) -> "tuple[ModelResponse, bool]":
    """Return the copy's row, and whether it is new."""
    request = {"quantization": quantization, "keep_original": keep_original}
    row = post_or_find(client, f"/models/{source['id']}/quantize", request)
    return row, row["status"] != "ready"
