"""Work under way as a person sees it: a bar on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import typer

from modelyard.commands._connect import err, note, printable

_LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Shown:
    """A moment of some work; `total` is None while it is not known, and `ended` when there is nothing to wait for."""

    name: str
    phase: str
    done: int
    total: int | None
    amounts: str
    speed: str
    ended: bool


class Display(Protocol):
    def update(self, shown: Shown) -> None: ...


@contextmanager
def display() -> Iterator[Display]:
    """A bar on a terminal; elsewhere a line now and then."""
    console = err()
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[amounts]}"),
        TextColumn("{task.fields[speed]}", style="cyan"),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None, amounts="", speed="")

        class Bar:
            def update(self, shown: Shown) -> None:
                progress.update(
                    task,
                    description=printable(shown.phase),
                    total=shown.total,
                    completed=shown.done,
                    amounts=shown.amounts,
                    speed=shown.speed,
                )

        yield Bar()


class _Lines:
    """A line for each phase, and one every few seconds within it."""

    def __init__(self) -> None:
        self._phase = ""
        self._said_at = 0.0

    def update(self, shown: Shown) -> None:
        again = shown.phase == self._phase and time.monotonic() - self._said_at < _LINE_SECONDS
        if shown.ended or again:
            return
        self._phase, self._said_at = shown.phase, time.monotonic()
        parts = (shown.phase, shown.amounts, shown.speed)
        note(f"{shown.name}: " + ", ".join(part for part in parts if part))


@contextmanager
def left_to_the_server(remark: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the work."""
    try:
        yield
    except KeyboardInterrupt:
        note(remark)
        raise typer.Exit(130) from None
