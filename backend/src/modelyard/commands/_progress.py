"""Progress for people: a bar on a terminal, lines elsewhere."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from modelyard.client.follow import PULL_AGAIN, WAITING_SECONDS, follow_model, why_waiting
from modelyard.client.progress import Display, Lines, Shown
from modelyard.commands._output import err, note
from modelyard.core.errors import ModelyardError
from modelyard.core.printable import printable

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse
    from modelyard.client.api_client import ApiClient


@contextmanager
def display() -> Iterator[Display]:
    """Yield a bar on a terminal, otherwise a display of occasional lines."""
    console = err()
    if not console.is_terminal:
        yield Lines(note)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[amounts]}", markup=False),
        TextColumn("{task.fields[speed]}", style="cyan", markup=False),
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


def follow(client: "ApiClient", row: "ModelResponse", *, again: str = PULL_AGAIN) -> "ModelResponse":
    """Show a model's progress until it is ready. Raises ApiError with the reason when it will not be.

    `again` says what to do after a failure.
    """
    with display() as shown:
        # A person makes room on a full disk while this waits; a script is told at once.
        return follow_model(client, row, shown, note, wait_for_disk=err().is_terminal, again=again)


@contextmanager
def left_to_the_server(remark: str) -> Iterator[None]:
    """On Ctrl-C, print the remark and exit with 130. The server continues its work."""
    try:
        yield
    except KeyboardInterrupt:
        note(remark)
        raise typer.Exit(130) from None


@contextmanager
def explained(client: "ApiClient") -> Iterator[Callable[[], None]]:
    """Explain after WAITING_SECONDS why nothing happens, unless the function it yields is called before."""

    def explain() -> None:
        try:
            note(why_waiting(client, "inference"))
        except ModelyardError as error:
            note(error.message)

    timer = threading.Timer(WAITING_SECONDS, explain)
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()
