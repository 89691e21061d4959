"""Limits on how long a PostgreSQL server may keep a caller waiting, and how long a vanished caller may hold a lock.

The server enforces its own limits on statements, locks and idle transactions. They do not help against a server that
is frozen or cut off: its sockets stay open and, on the same machine, the kernel even acknowledges what is sent. So
every wait of a connection also has a deadline on this side, after which the connection is closed.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

Result = TypeVar("Result")

LOCK_SECONDS = 6.0
STATEMENT_SECONDS = 8.0
ANSWER_SECONDS = 10.0
"""The deadline on this side: longer than the server's own limits, whose errors say more."""

PING_SECONDS = 2.0
CONNECT_SECONDS = 2
IDLE_TRANSACTION_SECONDS = 15.0
"""How long a transaction may do nothing. The locks of a host that vanished are released after this."""

PATIENT_SECONDS = 3600.0

_CONNECT_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": int(ANSWER_SECONDS * 1000),
    "application_name": "modelyard",
}
_SESSION_SETTINGS = {
    "lock_timeout": LOCK_SECONDS,
    "statement_timeout": STATEMENT_SECONDS,
    "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS,
    "tcp_user_timeout": ANSWER_SECONDS,
}
# With keepalives of its own the server notices that a client's host is gone.
_SESSION_SQL = "; ".join(
    [f"SET {name} = {int(seconds * 1000)}" for name, seconds in _SESSION_SETTINGS.items()]
    + ["SET tcp_keepalives_idle = 10", "SET tcp_keepalives_interval = 3", "SET tcp_keepalives_count = 3"]
)


class ServerSilent(psycopg.OperationalError):
    """The server did not answer within the deadline; the connection is closed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed, with ServerSilent, when an answer takes longer than `answer_seconds`."""

    answer_seconds = ANSWER_SECONDS

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        limit = self.answer_seconds if timeout is None else min(timeout, self.answer_seconds)
        try:
            return super().wait(gen, interval=interval, timeout=limit)
        except psycopg.errors._WaitTimeout as error:  # what `wait` documents to raise
            self.pgconn.finish()
            raise ServerSilent(f"no answer within {limit:g} s") from error

    @contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Use another deadline, in seconds, for a while."""
        before, self.answer_seconds = self.answer_seconds, seconds
        try:
            yield
        finally:
            self.answer_seconds = before


def bound(engine: Engine, is_away: Callable[[], bool] = lambda: False) -> None:
    """Give every connection of `engine` the limits of this module, and test pooled ones before they are used.

    Whoever still waits for a connection when `is_away` becomes true gets ServerSilent instead.
    """

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> BoundedConnection:
        if is_away():
            raise ServerSilent("the database is known to be away")
        try:
            return BoundedConnection.connect(*arguments, **(_CONNECT_DEFAULTS | parameters))
        except psycopg.Error as error:
            # The frames hold the half-open connection, and the error holds the frames until garbage is collected.
            traceback.clear_frames(error.__traceback__)
            raise

    @event.listens_for(engine, "connect")
    def _prepare(connection: BoundedConnection, _record: Any) -> None:
        with connection.answering_within(PING_SECONDS):
            connection.execute(_SESSION_SQL)
            connection.commit()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, _record: Any, _fairy: Any) -> None:
        try:
            with connection.answering_within(PING_SECONDS):
                engine.dialect.do_ping(connection)
        except ServerSilent:
            raise  # A new connection would get no answer either.
        except psycopg.Error as error:
            raise InvalidatePoolError from error


@contextmanager
def without_limits(connection: BoundedConnection) -> Iterator[None]:
    """Let the statements of the transaction under way take as long as they need: a migration's, for example."""
    connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
    with connection.answering_within(PATIENT_SECONDS):
        yield
