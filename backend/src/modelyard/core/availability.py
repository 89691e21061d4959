"""Whether the database answers, and what an error of a database means for whoever called it.

While the database is away every call fails at once with DatabaseUnavailable instead of waiting for another timeout, one
thread asks it whether it is back, and the log gets one line when the outage begins and one when it ends.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from modelyard.core.errors import DatabaseUnavailable, ModelyardError
from modelyard.core.sqlite_file import sqlite_problem

logger = logging.getLogger(__name__)

_FIRST_PROBE_SECONDS = 0.2
_LONGEST_PROBE_SECONDS = 1.0
_UNUSABLE_PROBE_SECONDS = 60.0

_AWAY_STATES = ("08", "57P01", "57P02", "57P03")
"""SQLSTATEs (or their classes) of a server that has ended this connection, stops, starts or is full."""

_BUSY_STATES = {
    "53300",  # too many connections
    "55P03",  # lock_timeout
    "57014",  # statement_timeout
    "25P03",  # idle_in_transaction_session_timeout
    "25006",  # read only: a standby that has not taken over yet
    "40001",  # serialization failure
    "40P01",  # deadlock
}
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_away(error: SQLAlchemyError) -> bool:
    """Return whether an error means that the database's server cannot be reached."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    state = _sqlstate(error)
    if state is not None:
        return state.startswith(_AWAY_STATES)
    kinds = {kind.__name__ for kind in type(error.orig).__mro__}
    return error.connection_invalidated or bool(kinds & _CONNECTION_ERRORS)


_CONNECTION_ERRORS = {"OperationalError", "InterfaceError"}
"""What psycopg raises, with no SQLSTATE, where there is no connection. By name: it is not imported for SQLite."""


def is_busy(error: SQLAlchemyError) -> bool:
    """Return whether the database answers, but could not do this now: asking again later is right."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_BUSY
    return _sqlstate(error) in _BUSY_STATES


def _sqlstate(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def problem_of(error: SQLAlchemyError, file: Path | None) -> ModelyardError | None:
    """Return what a user is told about an error of the database, None when it is a fault in the program.

    `file` is the embedded database's.
    """
    if is_away(error):
        return DatabaseUnavailable("The database does not answer.")
    if is_busy(error):
        return DatabaseUnavailable("The database is too busy to answer.")
    if file is not None and isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
        return sqlite_problem(error.orig, file)
    return None


def reason_of(error: SQLAlchemyError) -> str:
    """Return the last line of what the driver said."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


class Availability:
    """Whether one database answers. `probe` asks it and raises SQLAlchemyError where it does not."""

    def __init__(self, probe: Callable[[], None]) -> None:
        self._steps = [probe]
        self._lock = threading.Lock()
        self._answers = threading.Event()
        self._answers.set()
        self._closed = threading.Event()
        self._asking: threading.Thread | None = None

    def check(self) -> None:
        """Raise DatabaseUnavailable while the database is away."""
        if self.is_away():
            raise DatabaseUnavailable("The database does not answer.")

    def is_away(self) -> bool:
        """Return whether an outage is known. For the thread that finds out whether it is over, none is."""
        return not self._answers.is_set() and threading.current_thread() is not self._asking

    def wait(self, seconds: float) -> bool:
        """Wait until the database answers, at most so long; return whether it does."""
        return self._answers.wait(seconds)

    def require(self, work: Callable[[], None]) -> None:
        """Have `work` done after every outage, before the database counts as being back."""
        self._steps.append(work)

    def lost(self, error: SQLAlchemyError) -> None:
        """Begin an outage, unless one is known already."""
        with self._lock:
            if not self._answers.is_set() or self._closed.is_set():
                return
            self._answers.clear()
        logger.warning("The database does not answer (%s); waiting until it does", reason_of(error))
        self._asking = threading.Thread(target=self._await, args=(time.monotonic(),), name="database", daemon=True)
        self._asking.start()

    def close(self) -> None:
        """Stop asking."""
        self._closed.set()

    def _await(self, begun: float) -> None:
        pause = _FIRST_PROBE_SECONDS
        while not self._closed.wait(pause):
            pause = min(_LONGEST_PROBE_SECONDS, pause * 2)
            try:
                for step in self._steps:
                    step()
            except (SQLAlchemyError, DatabaseUnavailable):
                continue
            except Exception:
                logger.exception("The database answers, but cannot be used")
                pause = _UNUSABLE_PROBE_SECONDS
                continue
            self._answers.set()
            logger.warning("The database answers again, after %.1f s", time.monotonic() - begun)
            return
