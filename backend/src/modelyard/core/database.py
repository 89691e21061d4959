"""Engine, sessions and the two things SQLite needs to behave like a database with several writers."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    Engine,
    NullPool,
    Select,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from modelyard.core.availability import Availability, is_away, is_busy, problem_of, reason_of
from modelyard.core.errors import DatabaseDamaged, ModelyardError
from modelyard.core.extras import Extra, require
from modelyard.core.private_files import open_private
from modelyard.core.settings import get_settings
from modelyard.core.sqlite_file import database_problem
from modelyard.core.stored_text import clean_parameters, dump_json

SQLITE_BUSY_MILLISECONDS = 10_000
CHECK_SECONDS = 2.0
"""Between two looks at whether the database's file can be used again."""

POOL_SECONDS = 10.0
"""How long a caller waits for one of the connections of this process."""

POOL_RECYCLE_SECONDS = 1800
"""The age at which an idle connection is replaced, before a firewall forgets it."""

logger = logging.getLogger(__name__)

Row = TypeVar("Row")


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware instant; SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime given where an instant is needed")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the time by this host's clock, for what people read."""
    return datetime.now(UTC)


def database_now(session: Session) -> datetime:
    """Return the time by the one clock that all processes share: whatever several of them compare is set by it.

    That is the clock of the PostgreSQL server. A SQLite database is used on one host, so it is that host's.
    """
    if session.get_bind().dialect.name != "postgresql":
        return utc_now()
    now: datetime = session.execute(select(func.statement_timestamp())).scalar_one()
    return now.astimezone(UTC)


def insert(session: Session, table: Any) -> Any:
    """Return an INSERT that knows ON CONFLICT: one statement where a look and an INSERT after it would race."""
    return (postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert)(table)


def read_page(session: Session, rows: Select[Row], *, limit: int, offset: int) -> tuple[Sequence[Row], int]:
    """Return the rows of one page, and how many there are on all pages."""
    total = session.scalar(rows.with_only_columns(func.count(), maintain_column_froms=True).order_by(None))
    return session.scalars(rows.limit(limit).offset(offset)).all(), total or 0


class Database:
    """One engine and its sessions.

    Writing sessions begin with BEGIN IMMEDIATE on SQLite: a transaction that reads first and writes later would
    otherwise fail with "database is locked" instead of waiting. Reading sessions do not take the write lock.
    """

    def __init__(self, url: str) -> None:
        self.availability = Availability(self.probe)
        self.engine = _create_engine(url, is_away=self.availability.is_away)
        embedded = self.engine.dialect.name == "sqlite" and self.engine.url.database
        self.file = Path(embedded) if embedded else None
        self._trouble = _Trouble()
        self._writing = sessionmaker(self.engine, expire_on_commit=False)
        self._reading = sessionmaker(self.engine.execution_options(sqlite_begin="DEFERRED"), expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a short writing transaction: committed on success, rolled back on any error.

        Raises DatabaseUnavailable at once while the database is away, and for every error that means that;
        DatabaseFull, DatabaseDenied or DatabaseDamaged for trouble with the embedded database's file.
        """
        with self.guarded(), self._writing() as session, session.begin():
            yield session
        self._trouble.may_have_ended(self.file)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that only reads. Raises like `session`."""
        with self.guarded(), self._reading() as session:
            yield session

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Translate as `translating` does, but raise DatabaseUnavailable at once while the database is away."""
        self.availability.check()
        with self.translating():
            yield

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Raise what a user can be told instead of a driver's error, and note when the database goes away."""
        try:
            yield
        except SQLAlchemyError as error:
            problem = problem_of(error, self.file)
            if problem is None:
                raise
            if is_away(error):
                self.availability.lost(error)
            elif is_busy(error):
                logger.warning("%s (%s)", problem.message, reason_of(error))
            else:
                self._trouble.met(problem)
            if isinstance(problem, DatabaseDamaged):
                self.engine.dispose()  # a file that is put in its place is opened anew
            raise problem from error

    def probe(self) -> None:
        """Ask the database for an answer on a connection of its own. Raises SQLAlchemyError."""
        engine = _create_engine(self.engine.url)
        with engine.connect() as connection:
            connection.execution_options(sqlite_begin="DEFERRED").execute(text("SELECT 1"))

    def dispose(self) -> None:
        self.availability.close()
        self.engine.dispose()


class DatabaseChanges:
    """Whether an embedded database was written, by any process, at a hundredth of the price of a query.

    Of a database server nothing is known, and of a file only since another one was put in its place nothing either: so
    look from time to time, whatever this says. To be used from one thread at a time.
    """

    def __init__(self, database: Database) -> None:
        self._file = database.file
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    @property
    def are_known(self) -> bool:
        """Whether `any` can be asked: the database is embedded."""
        return self._file is not None

    def any(self) -> bool:
        """Return whether there may be one since this was asked before."""
        before, self._seen = self._seen, self._version()
        return self._seen is None or self._seen != before

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        connection, self._connection, self._seen = self._connection, None, None
        if connection is not None:
            connection.close()

    def _version(self) -> int | None:
        """Return a number that every commit of another connection changes. https://sqlite.org/pragma.html"""
        if self._file is None:
            return None
        try:
            if self._connection is None:
                address = f"{self._file.absolute().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(address, uri=True, timeout=0, check_same_thread=False)
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:  # who looks then is told what is wrong
            self.close()
            return None
        return version


class _Trouble:
    """Tells the log once when the database's file cannot be used, and once when it can be again."""

    def __init__(self) -> None:
        self._code: str | None = None
        self._check_at = 0.0
        self._lock = threading.Lock()

    def met(self, problem: ModelyardError) -> None:
        with self._lock:
            if self._code == problem.code:
                return
            self._code = problem.code
        logger.error("%s %s", problem.message, problem.hint)

    def may_have_ended(self, file: Path | None) -> None:
        """To be called after a transaction, which proves little: it may have written nothing, or read sound pages."""
        with self._lock:
            code = self._code
            if code is None or time.monotonic() < self._check_at:
                return
            self._check_at = time.monotonic() + CHECK_SECONDS
        if file is not None and database_problem(file) is not None:
            return
        with self._lock:
            if self._code != code:
                return
            self._code, self._check_at = None, 0.0
        logger.warning("The database can be written again")


def _create_engine(url: str | URL, *, is_away: Callable[[], bool] | None = None) -> Engine:
    """Return an engine with a pool; without `is_away` one for single connections. It cleans texts and JSON."""
    engine = _connectable(url, is_away)
    event.listen(engine, "before_cursor_execute", _clean_texts, retval=True)
    return engine


def _clean_texts(
    _connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    return statement, clean_parameters(parameters)


def _connectable(url: str | URL, is_away: Callable[[], bool] | None) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, json_serializer=dump_json, **({"poolclass": NullPool} if is_away is None else {}))
        event.listen(engine, "do_connect", _create_privately)
        event.listen(engine, "connect", _prepare_sqlite_connection)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    require(Extra.POSTGRES)
    from modelyard.core import postgres

    if is_away is None:
        engine = create_engine(url, poolclass=NullPool, json_serializer=dump_json)
        postgres.bound(engine)
    else:
        engine = create_engine(
            url, pool_timeout=POOL_SECONDS, pool_recycle=POOL_RECYCLE_SECONDS, json_serializer=dump_json
        )
        postgres.bound(engine, is_away)
    return engine


def _create_privately(_dialect: Dialect, _record: object, arguments: list[Any], _options: dict[str, Any]) -> None:
    """Give a new database file the mode 0600, which SQLite then uses for the files beside it.

    An existing one is not opened here: closing it would drop all locks that this process holds on it.
    """
    path = str(arguments[0])
    if path and path != ":memory:" and not path.startswith("file:"):
        with suppress(OSError):  # it exists, or SQLite says what is wrong
            open_private(Path(path), "xb").close()


def _prepare_sqlite_connection(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself; `_begin_sqlite` decides how they begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MILLISECONDS}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=normal")
    cursor.execute("PRAGMA foreign_keys=on")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    # Of two that switch a new file at once, one is told "database is locked" without a wait, so as not to block both.
    deadline = time.monotonic() + SQLITE_BUSY_MILLISECONDS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=wal")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


@lru_cache
def get_database() -> Database:
    return Database(get_settings().sqlalchemy_url)
