"""Running a server or a worker in the foreground."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.client.settings import load_settings
from modelyard.commands._options import SERVER_PANEL
from modelyard.commands._output import note

if TYPE_CHECKING:
    from modelyard.core.settings import Settings


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=SERVER_PANEL)(serve)
    app.command(rich_help_panel=SERVER_PANEL)(worker)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; MODELYARD_HOST, otherwise 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; MODELYARD_PORT, otherwise 8000; 0 takes a free one.", min=0, max=65535)
    ] = None,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Only the API and the page; workers run elsewhere.")
    ] = False,
) -> None:
    """Start the server: the API, the web page and the workers.

    It runs in the foreground until Ctrl-C. Beyond this machine it listens only with MODELYARD_API_KEY.
    """
    from modelyard.workers.processes.supervisor import Supervisor

    raise typer.Exit(Supervisor(_prepared(), host=host, port=port, workers=not no_workers).run())


def worker(
    queues: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Queues to work on, with commas between them; without torch only downloads."
        ),
    ] = "downloads,compute,inference",
) -> None:
    """Start a worker for a server that was started with --no-workers.

    It needs the server's MODELYARD_DATABASE_URL, MODELYARD_BROKER_URL and folders. It runs in the foreground until
    Ctrl-C; its process is started again when it dies.
    """
    from modelyard.core.queues import QUEUES
    from modelyard.workers.processes.supervisor import Supervisor

    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names or set(names) - set(QUEUES):
        raise typer.BadParameter(f"The queues are {', '.join(QUEUES)}.", param_hint="--queues")
    raise typer.Exit(Supervisor(_prepared()).run_worker(names))


def _prepared() -> "Settings":
    """Make sure that this instance's folders take content and that its database is one, before anything starts.

    Raises CannotStart, StorageError, DatabaseDamaged, DatabaseTooNew.
    """
    from modelyard.core.sqlite_file import check_database_file
    from modelyard.core.storage import require_room, storage_errors
    from modelyard.hub.network_check import network_problems
    from modelyard.workers.processes.supervisor import CannotStart

    settings = load_settings()
    try:
        with storage_errors():
            settings.prepare_home()
        require_room(settings.home)
        if settings.database_file is not None:
            check_database_file(settings.database_file)
    except OSError as error:
        raise CannotStart(
            f"{settings.home} cannot be used: {error.strerror}.", hint="Set MODELYARD_HOME to a folder you may write."
        ) from error
    for problem in network_problems():
        note(f"{problem.message} {problem.hint}")
    return settings
