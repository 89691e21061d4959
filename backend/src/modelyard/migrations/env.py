"""Run by Alembic; the URL or an open connection comes from `core.migrate`."""

from alembic import context
from sqlalchemy import Connection

from modelyard.core.database import Database
from modelyard.core.settings import get_settings
from modelyard.models import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite can alter a table only by copying it.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(get_settings().sqlalchemy_url)
    with database.engine.connect() as connection:
        run(connection)
        connection.commit()
    database.dispose()
