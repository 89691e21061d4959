"""Commands for data sets on a Hub."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, asking_the_hub, connect
from modelyard.commands._options import TRAIN_PANEL, JsonOption
from modelyard.commands._output import Cell, note, print_facts, print_json, print_table
from modelyard.commands.search import Sort

if TYPE_CHECKING:
    from modelyard.client.answers import DatasetInfo, DatasetSearchPage, DatasetSplit


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    for command in (search, info):
        group.command(cls=ClientCommand)(command)
    app.add_typer(group, name="datasets", help="Find data sets on the Hub.", rich_help_panel=TRAIN_PANEL)


def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Part of a name; the most downloaded if left out.")] = "",
    sort: Annotated[Sort, typer.Option(help="Field to sort by, descending.")] = "downloads",
    limit: Annotated[int, typer.Option(help="Maximum number of data sets.", min=1, max=50)] = 10,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Search the Hub for data sets."""
    client = connect(context)
    with asking_the_hub(context, client):
        page: DatasetSearchPage = client.get("/datasets/search", q=text, sort=sort, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    if page["items"]:
        print_table(
            ("DATA SET", "ROWS", "DOWNLOADS", "LICENCE", "ACCESS"),
            [
                (
                    item["repo_id"],
                    item["rows"] or "-",
                    _format.count(item["downloads"]),
                    item["licence"] or "-",
                    "open" if item["access"] == "open" else "gated",
                )
                for item in page["items"]
            ],
            right=("DOWNLOADS",),
        )
    elif page["next_cursor"] is None:
        note(f"The Hub has no data set whose name contains {text!r}.")
    if page["next_cursor"] is not None:
        note(f"There are more: the same command with --cursor {page['next_cursor']}")


def info(
    context: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on the Hub.")],
    config: Annotated[str | None, typer.Option(help="Configuration to look into; the first.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to look into; the first.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; the default branch.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a data set on the Hub holds: splits, columns, rows and the first row, without downloading it."""
    client = connect(context)
    with asking_the_hub(context, client):
        found: DatasetInfo = client.get(f"/datasets/info/{repo}", config=config, split=split, revision=revision)
    if as_json:
        print_json(found)
        return
    print_facts(_facts(found))
    rows = [(one["name"], *_row(split)) for one in found["configs"] for split in one["splits"]]
    print_table(("CONFIG", "SPLIT", "ROWS", "SIZE", "FILES", "FORMAT"), rows, right=("ROWS", "SIZE", "FILES"))
    if problem := found["problem"]:
        note(f"{problem['message']} {problem['hint'] or ''}".strip())


def _row(split: "DatasetSplit") -> tuple[Cell, ...]:
    rows = "-" if split["rows"] is None else f"{split['rows']:,}"
    return split["name"], rows, _format.size(split["size_bytes"]), str(split["files"]), split["format"] or "other"


def _facts(found: "DatasetInfo") -> Iterator[tuple[str, Cell]]:
    yield "data set", found["repo_id"]
    yield "commit", found["commit"]
    yield "licence", found["licence"]
    yield "access", found["access"].replace("_", " ")
    if found["columns"] is not None:
        yield "columns", f"{', '.join(one['name'] for one in found['columns'])} ({found['config']}, {found['split']})"
    for row in (found["first_rows"] or [])[:1]:
        yield "first row", ", ".join(f"{name}: {str(value)[:200]}" for name, value in row.items())
