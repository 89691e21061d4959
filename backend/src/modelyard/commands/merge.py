"""The command that makes a model of an adapter and its base."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.client.follow import post_or_find
from modelyard.commands import _format
from modelyard.commands._complete import complete_model
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import USE_PANEL, JsonOption
from modelyard.commands._output import note, print_json, say
from modelyard.commands._plan import changes
from modelyard.commands._progress import follow, left_to_the_server

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse

AdapterArgument = Annotated[
    str,
    typer.Argument(metavar="ADAPTER", help="Name or id of an installed adapter.", autocompletion=complete_model),
]


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(merge)


@changes
def merge(context: typer.Context, adapter: AdapterArgument, as_json: JsonOption = False) -> None:
    """Merge an adapter into its base: a model of its own that needs neither.

    The server does the work and continues after Ctrl-C.
    """
    client = connect(context)
    begun = time.monotonic()
    row: ModelResponse = post_or_find(client, f"/models/{find_row(client, adapter)['id']}/merge")
    if row["status"] == "paused":
        note(f"{row['model_id']} was paused; resuming it.")
        row = client.post(f"/models/{row['id']}/resume")
    fresh = row["status"] != "ready"
    if fresh:
        short = row["id"][:8]
        with left_to_the_server(f"Merging {row['model_id']} continues at {client.url}. `modelyard ps` shows it."):
            row = follow(client, row, again=f"`modelyard resume {short}` tries again.")
    if as_json:
        print_json(row)
        return
    took = f" in {_format.duration(time.monotonic() - begun)}" if fresh else ""
    say(f"{row['model_id']} is {'ready' if fresh else 'already installed'}{took}.")
    say(f"{_format.size(row['disk_bytes'])} on disk.")
    if row["drift"]:
        say(_format.drift(row["drift"]))
