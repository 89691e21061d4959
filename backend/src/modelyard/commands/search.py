"""The command that searches the Hub."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from modelyard.commands import _format
from modelyard.commands._connect import asking_the_hub, connect
from modelyard.commands._options import JsonOption
from modelyard.commands._output import note, print_json, print_table
from modelyard.core.statuses import QuantizationName
from modelyard.hub.parameter_range import UNITS

if TYPE_CHECKING:
    from modelyard.client.answers import SearchItem, SearchPage

Sort = Literal["downloads", "likes", "trending", "updated"]

_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([KMBT]?)", re.ASCII | re.IGNORECASE)


def parameter_count(value: str | int) -> int:
    """Return 7B or 500M as a number. Raises BadParameter."""
    count = _COUNT.fullmatch(str(value))
    if count is None:
        raise typer.BadParameter(f"{value!r} is not a number of parameters such as 500M or 7B.")
    return int(Decimal(count[1]) * UNITS[count[2].upper()])


def search(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="Part of a name; the most downloaded models if left out.")
    ] = "",
    task: Annotated[str | None, typer.Option(help="What the model is for, such as text-generation.")] = None,
    licence: Annotated[str | None, typer.Option(help="Such as apache-2.0.")] = None,
    architecture: Annotated[str | None, typer.Option(help="Model type, such as llama or qwen3.")] = None,
    min_parameters: Annotated[
        int | None, typer.Option(metavar="COUNT", parser=parameter_count, help="Such as 500M.")
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(metavar="COUNT", parser=parameter_count, help="Such as 8B.")
    ] = None,
    fits: Annotated[bool, typer.Option("--fits", help="Only models whose weights fit the server's machine.")] = False,
    precision: Annotated[QuantizationName, typer.Option(help="What `--fits` and the column FIT are of.")] = "none",
    sort: Annotated[Sort, typer.Option(help="Field to sort by, descending.")] = "downloads",
    limit: Annotated[int, typer.Option(help="Maximum number of models.", min=1, max=50)] = 10,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Search the Hub for models."""
    client = connect(context)
    with asking_the_hub(context, client):
        answer: SearchPage = client.get(
            "/models/search",
            q=text,
            task=task,
            licence=licence,
            architecture=architecture,
            min_parameters=min_parameters,
            max_parameters=max_parameters,
            fits=fits,
            precision=precision,
            sort=sort,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        print_json(answer)
        return
    further = answer.get("next_cursor")  # a server of an older version does not say
    if answer["items"]:
        _print_items(answer["items"])
    elif further is None:
        filtered = task or licence or architecture or min_parameters or max_parameters or fits
        note("The Hub has no such model." if filtered else f"The Hub has no model whose name contains {text!r}.")
    if further is not None:
        note(f"There are more: the same command with --cursor {further}")


def _print_items(items: "list[SearchItem]") -> None:
    print_table(
        ("MODEL", "PARAMS", "SIZE", "DOWNLOADS", "LICENCE", "FITS", "ACCESS", ""),
        [
            (
                item["model_id"],
                _format.count(item["num_parameters"]),
                _format.size(item["size_bytes"]),
                _format.count(item["downloads"]),
                item.get("licence") or "-",
                Text(_format.VERDICTS[verdict], _format.VERDICT_STYLES[verdict]),
                "open" if item["access"] == "open" else "gated",
                ", ".join(_remarks(item)),
            )
            for item in items
            for verdict in [item.get("fits", "unknown")]
        ],
        right=("PARAMS", "SIZE", "DOWNLOADS"),
    )


def _remarks(item: "SearchItem") -> Iterator[str]:
    if item.get("is_sample"):  # a server of an older version does not say
        yield "sample"
    if item["installed"]:
        yield "installed"
