"""The command `modelyard`: a client of the REST API, and the commands that run a server.

Nothing heavy is imported here: a command imports what it needs when it runs.
"""

from typing import Annotated

import typer

import modelyard
from modelyard.commands import (
    activations,
    architecture,
    cache,
    carry,
    compare,
    datasets,
    doctor,
    download,
    drift,
    hub,
    hub_choice,
    inference,
    lock,
    merge,
    models,
    quantize,
    saes,
    serve,
    train,
    versions,
)
from modelyard.commands._connect import ModelyardGroup
from modelyard.commands._options import ApiKeyOption, ServerOption

app = typer.Typer(
    name="modelyard",
    cls=ModelyardGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelyard {modelyard.__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    server: ServerOption = None,
    api_key: ApiKeyOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Manage Hugging Face transformer models: see what they need, get them, keep them in order.

    `modelyard serve` starts the server and its web page; the other commands talk to it.
    """


for group in (
    serve,
    doctor,
    hub,
    hub_choice,
    download,
    models,
    versions,
    cache,
    carry,
    lock,
    quantize,
    merge,
    inference,
    compare,
    architecture,
    activations,
    drift,
    datasets,
    train,
    saes,
):
    group.register(app)
