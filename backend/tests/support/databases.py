"""Databases to test on: SQLite and PostgreSQL, empty or with all tables."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, delete, make_url, text

from modelyard.core import migrate
from modelyard.core.database import Database
from modelyard.models import Base
from support.postgres import running_postgres

BACKENDS = ("sqlite", "postgres")
_DELETE_ROWS = "; ".join(str(delete(table)) for table in reversed(Base.metadata.sorted_tables)).encode()
"""One message, which PostgreSQL runs as one transaction."""


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a PostgreSQL server that lives as long as the tests."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_with_tables(postgres_url: str) -> Iterator[str]:
    with new_postgres_database(postgres_url) as url:
        _migrate(url)
        yield url


@pytest.fixture(scope="session")
def _postgres_cleaner(_postgres_with_tables: str) -> Iterator[psycopg.Connection]:
    """The one connection on which rows are deleted between tests: opening one takes as long as many a test."""
    url = make_url(_postgres_with_tables).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "modelyard.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'modelyard.db'}"
        return
    with new_postgres_database(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with all tables and no rows, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "modelyard.db"
        path.write_bytes(request.getfixturevalue("_sqlite_template").read_bytes())
        yield f"sqlite:///{path}"
        return
    cleaner = request.getfixturevalue("_postgres_cleaner")
    yield request.getfixturevalue("_postgres_with_tables")
    cleaner.execute(_DELETE_ROWS)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """As `database_url`, opened."""
    database = Database(database_url)
    yield database
    database.dispose()


@contextmanager
def new_postgres_database(server: str) -> Iterator[str]:
    """An empty database on a server, by its address."""
    name = f"test_{uuid.uuid4().hex}"
    _run(server, f"CREATE DATABASE {name}")
    try:
        yield _named(server, name)
    finally:
        _run(server, f"DROP DATABASE {name} WITH (FORCE)")


def _named(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _run(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _migrate(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    database.dispose()
