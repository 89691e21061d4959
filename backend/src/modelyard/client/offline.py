"""Doing without a server: the services in this process, leaving no trace on the disk."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from modelyard.client.settings import load_settings
from modelyard.core import migrate
from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError

Result = TypeVar("Result")

ANSWER_SECONDS = 5.0

INSPECTION_SECONDS = 120.0
"""The inspector of a command has to start first, which takes a busy machine a while."""


class DatabaseUnusable(ModelyardError):
    """The database cannot be read, or its tables are those of another version."""

    code = "database_unusable"


def database_name() -> str:
    """Return where the database is, without its password."""
    url = make_url(load_settings().sqlalchemy_url)
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def database_exists() -> bool:
    """Return whether there is something to connect to; connecting to SQLite would create it."""
    url = make_url(load_settings().sqlalchemy_url)
    return url.get_backend_name() != "sqlite" or (url.database is not None and Path(url.database).exists())


def open_database() -> Database:
    """Return the instance's database, which must exist. Raises DatabaseUnusable."""
    found = Database(load_settings().sqlalchemy_url)
    try:
        current = within(ANSWER_SECONDS, lambda: _revision(found))
    except (SQLAlchemyError, TimeoutError) as error:
        found.dispose()
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise DatabaseUnusable(
            f"The database {database_name()} does not answer: {reason}", hint="Check MODELYARD_DATABASE_URL."
        ) from error
    if current != ScriptDirectory.from_config(migrate.alembic_config()).get_current_head():
        found.dispose()
        raise DatabaseUnusable(
            f"The database {database_name()} holds another version's tables.",
            hint="`modelyard serve` of this version brings it up to date.",
        )
    return found


def _revision(found: Database) -> str | None:
    with found.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def database() -> Iterator[Database]:
    """This instance's database where it can be used, else an empty one that is gone afterwards.

    So the Hub that was chosen is the one that is asked, and asking leaves no file behind.
    """
    with ExitStack() as stack:
        found = None
        if database_exists():
            with suppress(DatabaseUnusable):
                found = open_database()
        if found is None:
            found = stack.enter_context(empty_database())
        else:
            stack.callback(found.dispose)
        yield found


@contextmanager
def empty_database() -> Iterator[Database]:
    """Yield a database that is gone afterwards."""
    # A file, because services use several connections, and those of an in-memory database share nothing.
    with TemporaryDirectory(prefix="modelyard-") as folder:
        empty = Database(f"sqlite:///{folder}/empty.db")
        try:
            migrate.upgrade(empty)
            yield empty
        finally:
            empty.dispose()


@contextmanager
def own_inspector(note: Callable[[str], None]) -> Iterator[None]:
    """Announce with `note` that this process inspects a model, and end its inspector with this context."""
    from modelyard.services.inspection.inspection_service import close_inspector

    note("Building the model without its weights …")
    try:
        yield
    finally:
        close_inspector()


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return the result of `work`, or TimeoutError: looking up a name may take longer than any client's time-out."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]
