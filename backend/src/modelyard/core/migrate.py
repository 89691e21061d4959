"""Bringing the database to the schema this version needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import modelyard
from modelyard.core.database import Database

# Any fixed number: two processes that start at once must not migrate at once.
_POSTGRES_LOCK = 0x6D6F6465


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(modelyard.__file__).parent / "migrations"))
    return config


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every missing migration in one transaction.

    SQLite's BEGIN IMMEDIATE and a Postgres advisory lock make concurrent callers wait for each other.
    """
    config = alembic_config()
    with database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        if revision == "head":
            current = MigrationContext.configure(connection).get_current_revision()
            if current == ScriptDirectory.from_config(config).get_current_head():
                return
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str = "base") -> None:
    config = alembic_config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
