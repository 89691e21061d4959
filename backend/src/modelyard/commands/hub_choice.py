"""The command that shows or chooses the Hub."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._options import HUB_PANEL, JsonOption
from modelyard.commands._output import print_facts, print_json
from modelyard.commands._plan import changes
from modelyard.core.printable import printable

if TYPE_CHECKING:
    from modelyard.client.answers import System


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=HUB_PANEL)(hub)


@changes
def hub(
    context: typer.Context,
    endpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="URL|builtin|default", help="The Hub to use from now on; shows the current one if left out."
        ),
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Store a token for this Hub, asked for without echo or read from stdin.")
    ] = False,
    forget_token: Annotated[bool, typer.Option("--forget-token", help="Remove the token stored for this Hub.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show or choose the Hub that models come from, and store a token for it.

    `builtin` is the server's own Hub with a few small sample models, for trying things out without internet. A token
    is sent only to the Hub it was stored for.
    """
    if token and forget_token:
        raise typer.BadParameter("Either store a token or forget it.", param_hint="--forget-token")
    changes: dict[str, str | None] = {}
    if endpoint is not None:
        changes["endpoint"] = None if endpoint == "default" else endpoint
    if token or forget_token:
        changes["token"] = _read_token() if token else None
    client = connect(context)
    if changes:
        client.put("/settings", changes)
    system: System = client.get("/system")
    status = system["hub"]
    if as_json:
        print_json(status)
        return
    print_facts(
        [
            ("Hub", f"{status['endpoint']} ({_format.ENDPOINT_SOURCES[status['endpoint_source']]})"),
            (
                "state",
                Text("answers", "green") if status["reachable"] else Text(printable(status["reason"] or ""), "red"),
            ),
            ("token", f"{status['token']} ({status['user']})" if status["user"] else status["token"]),
            # A server of an older version does not say.
            ("note", status.get("token_note")),
        ]
    )


def _read_token() -> str:
    """Read a token. It is no argument of the command, which other users of the machine could see."""
    at_terminal = sys.stdin.isatty()
    token: str = typer.prompt("Token", hide_input=True, err=True) if at_terminal else sys.stdin.readline()
    if not token.strip():
        raise typer.BadParameter("Standard input holds no token.", param_hint="--token")
    return token.strip()
