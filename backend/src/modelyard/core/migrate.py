"""Bringing the database to the schema this version needs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import modelyard
from modelyard.core.database import Database

# Any fixed number: two processes that start at once must not migrate at once.
_POSTGRES_LOCK = 0x6D6F6465


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(modelyard.__file__).parent / "migrations"))
    return config


@contextmanager
def migrating(database: Database) -> Iterator[Connection]:
    """Yield one transaction for changes of the schema; concurrent callers wait for each other.

    SQLite alters a table by copying and dropping it. With foreign keys enforced the drop would clear what refers to
    it, and they can only be switched outside a transaction.
    """
    with database.translating(), database.engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            connection.connection.cursor().execute("PRAGMA foreign_keys=off")
        try:
            with ExitStack() as stack, connection.begin():
                if connection.dialect.name == "postgresql":
                    stack.enter_context(_without_limits(connection))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
                yield connection
        finally:
            if sqlite:
                connection.connection.cursor().execute("PRAGMA foreign_keys=on")


def _without_limits(connection: Connection) -> AbstractContextManager[None]:
    from modelyard.core.postgres import without_limits

    return without_limits(cast(Any, connection.connection.dbapi_connection))


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every missing migration in one transaction. Raises DatabaseUnavailable."""
    config = alembic_config()
    with migrating(database) as connection:
        if revision == "head":
            current = MigrationContext.configure(connection).get_current_revision()
            if current == ScriptDirectory.from_config(config).get_current_head():
                return
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str = "base") -> None:
    """Undo migrations down to `revision`; `base` leaves no tables."""
    config = alembic_config()
    with migrating(database) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
