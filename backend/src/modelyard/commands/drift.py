"""The command that compares a quantized copy with its original."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import describe, find_row
from modelyard.commands._options import USE_PANEL, JsonOption, ModelArgument, WhichQuantization
from modelyard.commands._output import note, print_json, print_table, say
from modelyard.core.errors import Conflict

if TYPE_CHECKING:
    from modelyard.client.answers import Drift, ModelResponse
    from modelyard.client.api_client import ApiClient

MEASURED_SECONDS = 3600.0
"""How long a comparison may take; large models are read from the disk twice."""


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(drift)


def drift(
    context: typer.Context,
    model: ModelArgument,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="Your own text; - reads it from stdin.")] = None,
    quantization: WhichQuantization = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a quantized copy with its original: as measured when it was made, or on your own text.

    For your own text, both are loaded one after the other, and its first 1,024 tokens are compared.
    """
    client = connect(context)
    row = find_row(client, model, quantization)
    if text == "-":
        text = sys.stdin.read()
    if text is not None:
        note(f"comparing {describe(row)} with its original …")
    found = row["drift"] if text is None else _measure(client, row, text)
    if found is None:
        raise Conflict(f"{describe(row)} is no quantized copy.", hint="Name the copy, for example with -q 4bit.")
    if as_json:
        print_json(found)
        return
    say(_format.drift(found))
    if found["residual_cosine"]:
        cosines = found["residual_cosine"]
        print_table(
            ("RESIDUAL STREAM", "COSINE"),
            [
                (f"after layer {at - 1}" if at else "entering layer 0", f"{value:.4f}")
                for at, value in enumerate(cosines)
            ],
            right=("COSINE",),
        )


def _measure(client: "ApiClient", row: "ModelResponse", text: str) -> "Drift":
    """Ask the server, which may have to load both models first; Ctrl-C also stops the work there."""
    found: Drift = client.post(f"/models/{row['id']}/drift", {"text": text}, timeout_seconds=MEASURED_SECONDS)
    return found
