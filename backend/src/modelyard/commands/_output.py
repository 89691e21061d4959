"""Print what commands find: results on stdout, remarks on stderr."""

from collections.abc import Collection, Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelyard.core.errors import ModelyardError
from modelyard.core.printable import printable, printable_json

Cell = str | Text | None

_WIDE = 10_000


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
    """Print a result on stdout."""
    out().print(printable(text), soft_wrap=True)


def note(text: str) -> None:
    """Print a remark on stderr, so that it never ends up in a pipe."""
    err().print(printable(text), soft_wrap=True)


def note_failure(name: str, error: ModelyardError) -> None:
    """Print on stderr why nothing came of one of several."""
    note(f"{name}: {error.message} {error.hint or ''}".rstrip())


def print_json(answer: object) -> None:
    typer.echo(printable_json(answer))


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
