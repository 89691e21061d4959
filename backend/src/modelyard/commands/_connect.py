"""Connect commands with the server, and turn errors into a few lines."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from modelyard.client.settings import load_settings
from modelyard.commands._options import ApiKeyOption, PlannedOption, ServerOption, connection_of, server_address
from modelyard.commands._output import err, note
from modelyard.commands._plan import Planned, print_plan
from modelyard.core.environment import give_up_output, open_closed_streams
from modelyard.core.errors import HubUnreachable, InvalidRequest, ModelyardError, UnsafeWeights
from modelyard.core.keys import clean_key
from modelyard.core.printable import printable, printable_json

if TYPE_CHECKING:
    from modelyard.client.api_client import ApiClient

Json = dict[str, Any]

QUIET_SECONDS = 2.0
"""How long a command may say nothing while a Hub is asked."""

_HINTS: dict[type[ModelyardError], str] = {
    HubUnreachable: "Check the network or proxy. `modelyard hub builtin` switches a running server to its built-in"
    " sample models, `modelyard hub URL` to another endpoint, such as a mirror.",
    UnsafeWeights: "Choose a repository with safetensors, or `modelyard pull --allow-pickle` if you trust its author.",
}
"""Said instead of the default hint, which speaks of the page."""


class ClientCommand(TyperCommand):
    """A command that asks the server: it takes --server and --api-key, as `modelyard` itself does."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        options = typer.Typer(add_completion=False)

        @options.command()
        def connection(
            server: ServerOption = None, api_key: ApiKeyOption = None, plan: PlannedOption = False
        ) -> None: ...

        planned = getattr(self.callback, "changes", False)
        self.params += [each for each in typer.main.get_command(options).params if planned or each.name != "plan"]


class ModelyardGroup(TyperGroup):
    """Turns expected failures into a few lines and exit code 1."""

    def main(self, *args: Any, **settings: Any) -> Any:
        open_closed_streams()
        try:
            try:
                return super().main(*args, **settings)
            finally:
                sys.stdout.flush()
        except OSError:
            reason = give_up_output()
            if reason is None:
                raise
            print(f"Error: The output cannot be written: {reason}.", file=sys.stderr)
            sys.exit(1)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Planned as planned:
            print_plan([planned.step], as_json=connection_of(ctx).json)
            raise typer.Exit from None
        except ModelyardError as error:
            _show_error(ctx, error)
            raise typer.Exit(1) from error


def connect(context: typer.Context) -> "ApiClient":
    """Return a client of the server that the options or the environment name. Raises InvalidRequest."""
    from modelyard.client.api_client import ApiClient

    connection = connection_of(context)
    name = "--api-key" if connection.api_key else "MODELYARD_API_KEY"
    try:
        key = clean_key(connection.api_key or os.environ.get("MODELYARD_API_KEY", ""))
    except ValueError as error:
        raise InvalidRequest(f"{name} cannot be used: {error}.", hint=f"Correct {name}.") from None
    if connection.plan:
        from modelyard.commands._planning import PlanningClient

        return PlanningClient(_address(context), key or None)
    return ApiClient(_address(context), key or None)


def _address(context: typer.Context) -> str:
    server = connection_of(context).server or server_address(os.environ.get("MODELYARD_SERVER", "").strip())
    return server or load_settings().local_url


@contextmanager
def note_if_slow(context: typer.Context, remark: str, seconds: float) -> Iterator[None]:
    """Print a remark once something has taken this long; none with --json, whose errors go to stderr too."""
    timer = threading.Timer(seconds, note, [remark])
    timer.daemon = True
    if not connection_of(context).json:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def asking_the_hub(context: typer.Context, client: "ApiClient") -> Iterator[None]:
    """Say what is waited for where an answer of the Hub in use takes long."""
    builtin = client.get("/settings")["endpoint_source"] == "builtin"
    remark = (
        "Asking the built-in sample Hub, which makes its samples once; that takes some seconds."
        if builtin
        else "Asking the Hub …"
    )
    with note_if_slow(context, remark, QUIET_SECONDS):
        yield


def _show_error(context: typer.Context, error: ModelyardError) -> None:
    from modelyard.client.api_client import ApiError

    hint = _hint(error)
    if connection_of(context).json:
        answer = error.as_dict() | error.extra | {"hint": hint}
        print(printable_json(answer), file=sys.stderr)
        return
    console = err()
    console.print(Text.assemble(("Error: ", "bold red"), printable(error.message)), soft_wrap=True)
    if hint:
        console.print(Text.assemble(("Hint: ", "bold"), printable(hint)), soft_wrap=True)
    if isinstance(error, ApiError):  # the server answers, and so does its page
        more = f"{_address(context).rstrip('/')}/docs/errors#{error.code}"
        console.print(Text.assemble(("More: ", "bold"), printable(more)), soft_wrap=True)


def _hint(error: ModelyardError) -> str | None:
    hint = error.hint
    for kind, ours in _HINTS.items():
        if error.code == kind.code and hint in (None, kind.default_hint):
            hint = ours
    # The page where a gated model's terms are accepted.
    return f"{hint or ''} {error.extra['url']}".strip() if "url" in error.extra else hint
