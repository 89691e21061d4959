"""Keeping in order what is on the disk: verify, import, cache."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import OWN_PANEL, JsonOption, ModelArgument, WhichQuantization
from modelyard.commands._output import note, print_json, print_table, say
from modelyard.commands._progress import follow
from modelyard.core.environment import expand_home
from modelyard.core.errors import InvalidRequest

if TYPE_CHECKING:
    from modelyard.client.answers import CacheListing, FreedBytes


def register(app: typer.Typer) -> None:
    for command in (verify, cache):
        app.command(cls=ClientCommand, rich_help_panel=OWN_PANEL)(command)
    app.command("import", cls=ClientCommand, rich_help_panel=OWN_PANEL)(import_)


def verify(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, as_json: JsonOption = False
) -> None:
    """Hash every file of a model; what is damaged is fetched again, and only that."""
    client = connect(context)
    row = find_row(client, model, quantization)
    row = follow(client, client.post(f"/models/{row['id']}/verify"))
    if as_json:
        print_json(row)
    else:
        say(f"{row['model_id']}: every file is right ({_format.size(row['disk_bytes'])}).")


def import_(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder on the server's machine, or a model of its cache.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="OWNER/NAME", help="What an imported folder is called.")
    ] = None,
    mode: Annotated[
        Literal["link", "copy"], typer.Option(help="Hard links take no extra space; a copy is independent.")
    ] = "link",
    as_json: JsonOption = False,
) -> None:
    """Take over a folder, or a model that other tools downloaded, without a transfer.

    The folder must lie below one of the server's MODELYARD_ALLOWED_PATHS, if they are set or the server has a key.
    """
    client = connect(context)
    is_folder = name is not None or source.startswith(("/", ".", "~"))
    if is_folder and name is None:
        raise InvalidRequest("An imported folder needs a name.", hint="Give one: --name local/my-model.")
    if is_folder:
        request = {"path": str(expand_home(Path(source)).absolute()), "model_id": name, "mode": mode}
    else:
        request = {"cached": source}
    row = follow(client, client.post("/models/import", request))
    if as_json:
        print_json(row)
    else:
        say(f"{row['model_id']} is ready: {_format.size(row['disk_bytes'])}, nothing was transferred.")


def cache(
    context: typer.Context,
    drop_leftovers: Annotated[
        bool, typer.Option("--drop-leftovers", help="Remove unfinished files no model will go on with.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the Hugging Face cache holds that Modelyard does not manage, and unfinished files."""
    client = connect(context)
    if drop_leftovers:
        freed: FreedBytes = client.delete("/models/cache/leftovers", older_than_seconds=0)
        print_json(freed) if as_json else say(f"{_format.size(freed['freed_bytes'])} came free.")
        return
    listing: CacheListing = client.get("/models/cache")
    if as_json:
        print_json(listing)
        return
    if listing["items"]:
        print_table(
            ("MODEL", "COMMIT", "REVISION", "SIZE", "IMPORT"),
            [
                (
                    item["model_id"],
                    item["commit"][:12],
                    ", ".join(item["revisions"]),
                    _format.size(item["size_bytes"]),
                    item["problem"] or f"modelyard import {item['model_id']}",
                )
                for item in listing["items"]
            ],
            right=("SIZE",),
            wrap=("REVISION", "IMPORT"),
        )
    else:
        note("The cache holds nothing that is not managed.")
    if listing["leftovers"]:
        size = sum(leftover["size_bytes"] for leftover in listing["leftovers"])
        note(
            f"{len(listing['leftovers'])} unfinished files take {_format.size(size)};"
            " `modelyard cache --drop-leftovers` removes those that no model will go on with."
        )
