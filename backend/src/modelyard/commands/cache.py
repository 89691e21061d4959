"""Commands about files on disk: verify, import, cache."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import (
    OWN_PANEL,
    AllowUnsupportedOption,
    JsonOption,
    ModelArgument,
    WhichQuantization,
)
from modelyard.commands._output import note, print_json, print_table, say
from modelyard.commands._plan import changes
from modelyard.commands._progress import follow
from modelyard.commands.carry import import_bundle, local_bundle
from modelyard.core.environment import expand_home
from modelyard.core.errors import InvalidRequest

if TYPE_CHECKING:
    from modelyard.client.answers import CacheListing, FreedBytes


_PATHS = ("/", ".", "~")


def register(app: typer.Typer) -> None:
    for command in (verify, cache):
        app.command(cls=ClientCommand, rich_help_panel=OWN_PANEL)(command)
    app.command("import", cls=ClientCommand, rich_help_panel=OWN_PANEL)(import_)


@changes
def verify(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, as_json: JsonOption = False
) -> None:
    """Hash every file of a model, and fetch only the damaged ones again."""
    client = connect(context)
    row = find_row(client, model, quantization)
    row = follow(client, client.post(f"/models/{row['id']}/verify"))
    if as_json:
        print_json(row)
    else:
        say(f"{row['model_id']}: all files verified ({_format.size(row['disk_bytes'])}).")


@changes
def import_(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A bundle, a folder or GGUF file on the server's machine, a model of its cache, or one of its Ollama.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="OWNER/NAME", help="The name of an imported folder or file.")
    ] = None,
    mode: Annotated[
        Literal["link", "copy"], typer.Option(help="Hard links take no extra space; a copy is independent.")
    ] = "link",
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Of a bundle: accept models with pickle weights.")
    ] = False,
    allow_unsupported: AllowUnsupportedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Import a bundle, a folder, or a model that other tools downloaded, without a download; convert a GGUF file.

    A bundle of this machine is sent to a server elsewhere. Ollama's names, such as llama3.2:1b, are known. Another path
    must be inside one of the server's MODELYARD_ALLOWED_PATHS, if they are set or the server has a key.
    """
    bundle = local_bundle(source)
    if bundle and name is not None:
        raise typer.BadParameter("A bundle holds the names of its models.", param_hint="--name")
    if bundle or (name is None and _is_elsewhere(source)):
        import_bundle(context, bundle or None, source, allow_pickle=allow_pickle, as_json=as_json)
        return
    client = connect(context)
    of_ollama = ":" in source and not source.startswith(_PATHS)
    is_path = name is not None or of_ollama or source.startswith(_PATHS)
    if is_path and name is None:
        raise InvalidRequest("An imported folder or file needs a name.", hint="Give one: --name local/my-model.")
    if is_path:
        path = source if of_ollama else str(expand_home(Path(source)).absolute())
        request: dict[str, Any] = {"path": path, "model_id": name, "mode": mode}
    else:
        request = {"cached": source}
    request["allow_unsupported"] = allow_unsupported
    row = follow(client, client.post("/models/import", request))
    if as_json:
        print_json(row)
    else:
        say(f"{row['model_id']} is ready: {_format.size(row['disk_bytes'])}, nothing was downloaded.")


def _is_elsewhere(source: str) -> bool:
    """Return whether this is a path that only the server's machine may have: of what is there, a bundle has no name."""
    return source.startswith("/") and not Path(source).exists()


@changes
def cache(
    context: typer.Context,
    drop_leftovers: Annotated[
        bool, typer.Option("--drop-leftovers", help="Remove unfinished files that no model needs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show models of the Hugging Face cache that are not managed yet, and unfinished files."""
    client = connect(context)
    if drop_leftovers:
        freed: FreedBytes = client.delete("/models/cache/leftovers", older_than_seconds=0)
        print_json(freed) if as_json else say(f"Freed {_format.size(freed['freed_bytes'])}.")
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
        note("The cache has no other models.")
    if listing["leftovers"]:
        size = sum(leftover["size_bytes"] for leftover in listing["leftovers"])
        note(
            f"{len(listing['leftovers'])} unfinished files take {_format.size(size)};"
            " `modelyard cache --drop-leftovers` removes those that no model needs."
        )
