"""What the commands share: options, the connection to the server, output, errors."""

import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from modelyard.client.progress import printable
from modelyard.client.settings import load_settings
from modelyard.core.environment import open_closed_streams
from modelyard.core.errors import HubUnreachable, InvalidRequest, ModelyardError, UnsafeWeights
from modelyard.core.keys import clean_key

if TYPE_CHECKING:
    from modelyard.client.api_client import ApiClient

Json = dict[str, Any]
QuantizationName = Literal["none", "8bit", "4bit"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
Cell = str | Text | None

SERVER_PANEL = "Run Modelyard"
HUB_PANEL = "Find a model"
GET_PANEL = "Download it"
OWN_PANEL = "Models here"
USE_PANEL = "Use a model"
TRAIN_PANEL = "Train on a model"
QUIET_SECONDS = 2.0
"""How long a command may say nothing while a Hub is asked."""

_WIDE = 10_000
_HINTS: dict[type[ModelyardError], str] = {
    HubUnreachable: "Check the network or proxy. `modelyard hub builtin` switches a running server to its built-in"
    " sample models, `modelyard hub URL` to another endpoint, such as a mirror.",
    UnsafeWeights: "Choose a repository with safetensors, or `modelyard pull --allow-pickle` if you trust its author.",
}
"""Said instead of the default hint, which speaks of the page."""


@dataclass
class Connection:
    """Where the server is and how errors are to be written; the `obj` of the outermost context."""

    server: str | None = None
    api_key: str | None = None
    json: bool = False


def _connection(context: typer.Context) -> Connection:
    return context.find_root().ensure_object(Connection)


def _server_address(value: str | None) -> str | None:
    if not value:
        return None
    address = value if "://" in value else f"http://{value}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise typer.BadParameter(f"{value!r} is not an address such as http://127.0.0.1:8000.")
    return address


def _keep(name: str) -> Callable[[typer.Context, Any], Any]:
    def keep(context: typer.Context, value: Any) -> Any:
        if name == "server":
            value = _server_address(value)
        if value:
            setattr(_connection(context), name, value)
        return value

    return keep


ServerOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The server; otherwise MODELYARD_SERVER, otherwise this machine's.",
        callback=_keep("server"),
        expose_value=False,
    ),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="The server's key, if it has one; better in MODELYARD_API_KEY.",
        callback=_keep("api_key"),
        expose_value=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON; errors too.", callback=_keep("json"))]


def _not_empty(value: str) -> str:
    if not value.strip():
        raise typer.BadParameter("It is empty. Give a model's name, such as gpt2 or owner/name.")
    return value


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="owner/name, the name alone if no other owner has it, or the id's first letters.",
        callback=_not_empty,
    ),
]
HubModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL_ID",
        help="owner/name, a bare name such as gpt2, or a model page's address.",
        callback=_not_empty,
    ),
]
WhichQuantization = Annotated[
    QuantizationName | None, typer.Option("--quantization", "-q", help="Which one, where there are several.")
]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit; the default branch if left out.")]


class ClientCommand(TyperCommand):
    """A command that asks the server: it takes --server and --api-key, as `modelyard` itself does."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        options = typer.Typer(add_completion=False)

        @options.command()
        def connection(server: ServerOption = None, api_key: ApiKeyOption = None) -> None: ...

        self.params += typer.main.get_command(options).params


class ModelyardGroup(TyperGroup):
    """Turns expected failures into two lines and exit code 1."""

    def main(self, *args: Any, **settings: Any) -> Any:
        open_closed_streams()
        return super().main(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModelyardError as error:
            _show_error(error, as_json=_connection(ctx).json)
            raise typer.Exit(1) from error


def connect(context: typer.Context) -> "ApiClient":
    """A client of the server that the options or the environment name. Raises InvalidRequest."""
    from modelyard.client.api_client import ApiClient

    connection = _connection(context)
    server = connection.server or _server_address(os.environ.get("MODELYARD_SERVER", "").strip())
    name = "--api-key" if connection.api_key else "MODELYARD_API_KEY"
    try:
        key = clean_key(connection.api_key or os.environ.get("MODELYARD_API_KEY", ""))
    except ValueError as error:
        raise InvalidRequest(f"{name} cannot be used: {error}.", hint=f"Correct {name}.") from None
    return ApiClient(server or load_settings().local_url, key or None)


def out() -> Console:
    return _console(stderr=False)


def err() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDE  # a pipe has no edge: nothing is cut or wrapped
    return console


def say(text: str) -> None:
    """A result, on stdout."""
    out().print(printable(text), soft_wrap=True)


def note(text: str) -> None:
    """A remark, on stderr, so that it never ends up in a pipe."""
    err().print(printable(text), soft_wrap=True)


@contextmanager
def note_if_slow(context: typer.Context, remark: str, seconds: float) -> Iterator[None]:
    """A remark once something has taken this long; none with --json, whose errors go to stderr too."""
    timer = threading.Timer(seconds, note, [remark])
    timer.daemon = True
    if not _connection(context).json:
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


def print_json(answer: object) -> None:
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Collection[str] = (),
    wrap: Collection[str] = (),
) -> None:
    """Print rows below headings; None is an empty cell.

    `right` names the columns of figures. Where a terminal is too narrow, the first column, which names the model, and
    those of `wrap` take several lines; all others, such as the precision and the id, stay whole.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        may_wrap = index == 0 or heading in wrap
        width = max([len(heading), *(row[index].cell_len for row in cells)])
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=not may_wrap,
            min_width=None if may_wrap else width,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*row)
    out().print(table, crop=False)


def print_facts(facts: Iterable[tuple[str, Cell]]) -> None:
    """Name and value, one pair a line; what is None is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            grid.add_row(name, _cell(value))
    out().print(grid)


def _cell(cell: Cell) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(printable(cell or ""))


def _show_error(error: ModelyardError, *, as_json: bool) -> None:
    hint = _hint(error)
    if as_json:
        answer = error.as_dict() | error.extra | {"hint": hint}
        print(json.dumps(answer, indent=2, ensure_ascii=False, default=str), file=sys.stderr)
        return
    console = err()
    console.print(Text.assemble(("Error: ", "bold red"), printable(error.message)), soft_wrap=True)
    if hint:
        console.print(Text.assemble(("Hint: ", "bold"), printable(hint)), soft_wrap=True)


def _hint(error: ModelyardError) -> str | None:
    hint = error.hint
    for kind, ours in _HINTS.items():
        if error.code == kind.code and hint in (None, kind.default_hint):
            hint = ours
    # The page where a gated model's terms are accepted.
    return f"{hint or ''} {error.extra['url']}".strip() if "url" in error.extra else hint
