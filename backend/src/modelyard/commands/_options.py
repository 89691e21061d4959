"""The options and arguments that commands share, and what they say about the connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from modelyard.commands._complete import complete_model
from modelyard.core.statuses import QuantizationName

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

SERVER_PANEL = "Run Modelyard"

HUB_PANEL = "Find a model"

GET_PANEL = "Download it"

OWN_PANEL = "Installed models"

USE_PANEL = "Use a model"

TRAIN_PANEL = "Train on a model"


@dataclass
class Connection:
    """Where the server is and how errors are to be written; the `obj` of the outermost context."""

    server: str | None = None
    api_key: str | None = None
    json: bool = False
    plan: bool = False
    """Only say what would be done: see `commands._planning`."""


def connection_of(context: typer.Context) -> Connection:
    return context.find_root().ensure_object(Connection)


def server_address(value: str | None) -> str | None:
    if not value:
        return None
    address = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket without its other, or a port that is none
        is_address = False
    if not is_address:
        raise typer.BadParameter(f"{value!r} is not an address such as http://127.0.0.1:8000.")
    return address


def _keep(name: str) -> Callable[[typer.Context, Any], Any]:
    def keep(context: typer.Context, value: Any) -> Any:
        if name == "server":
            value = server_address(value)
        if value:
            setattr(connection_of(context), name, value)
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

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, errors included.", callback=_keep("json"))]


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
        autocompletion=complete_model,
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
    QuantizationName | None, typer.Option("--quantization", "-q", help="The precision, if several are installed.")
]

RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit; the default branch if left out.")]
AllowUnsupportedOption = Annotated[
    bool,
    typer.Option("--allow-unsupported", help="Keep the files of a model that transformers here cannot load."),
]
_PLAN = ("--plan", "--dry-run")
_PLAN_HELP = "Only say what would be done."
PlanOption = Annotated[bool, typer.Option(*_PLAN, help=_PLAN_HELP)]
"""Of a command that finds out by itself what it would do."""
PlannedOption = Annotated[bool, typer.Option(*_PLAN, help=_PLAN_HELP, callback=_keep("plan"), expose_value=False)]
"""Of every other command that changes something: `changes` adds it."""
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
