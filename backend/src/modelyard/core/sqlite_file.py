"""The embedded database as a file: whether it can be used, and what to do where it cannot. Needs no SQLAlchemy."""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from modelyard.core.errors import (
    DatabaseDamaged,
    DatabaseDenied,
    DatabaseFull,
    DatabaseTooNew,
    DatabaseUnavailable,
    DiskFull,
    ModelyardError,
)
from modelyard.core.storage import (
    disk_full,
    is_usable,
    nearest_folder,
    require_usable,
    room_problem,
    storage_denied,
)

_REVISION = re.compile(r"^revision = \"(\w+)\"", re.MULTILINE)
_MIGRATIONS = Path(__file__).parent.parent / "migrations" / "versions"
_BUSY_SECONDS = 10.0
_GROWTH_BYTES = 65_536
"""With less free than this, SQLite cannot extend the files beside a database."""


def check_database_file(path: Path) -> None:
    """Read the database in full; a file that is not there yet is as good as a sound one.

    Raises DatabaseDamaged, DatabaseTooNew, StorageDenied.
    """
    if path.is_symlink() and not path.exists():
        raise damaged(path, "is a link that leads nowhere")
    if path.exists() and not path.is_file():
        raise damaged(path, "is not a file")
    write_ahead = path.with_name(path.name + "-wal")
    for each in (path.parent, path, write_ahead, path.with_name(path.name + "-shm")):
        require_usable(each)
    if not path.exists() or path.stat().st_size == 0:
        # SQLite would begin an empty database, and throw away what the log beside it holds.
        if write_ahead.exists() and write_ahead.stat().st_size:
            raise damaged(path, "is empty, but the log beside it is not")
        if _was_in_use(path.parent) and path.exists():
            raise damaged(path, "is empty")
        return
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise damaged(path, "is damaged", answer)
            revision = _revision(connection)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            return  # busy or full, for example: whoever uses it next says so
        raise damaged(path, "is damaged", str(error)) from error
    if revision is not None and revision not in set(_known_revisions()):
        raise DatabaseTooNew(f"The database {path} was written by another version of Modelyard (schema {revision}).")


def database_problem(path: Path) -> ModelyardError | None:
    """Return what is wrong with the database in `path` now, by reading it in full and writing beside it."""
    try:
        check_database_file(path)
    except ModelyardError as error:
        return error
    return room_problem(path, _GROWTH_BYTES)


def sqlite_problem(error: sqlite3.Error, path: Path) -> ModelyardError | None:
    """Return what a user is told about an error of the embedded database in `path`.

    None if the program is at fault, or the database only busy.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return disk_full(path, DatabaseFull)
        case sqlite3.SQLITE_READONLY:
            return storage_denied(path, DatabaseDenied)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, "is damaged", str(error))
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR:
            return _unreachable(error, path)
    return None


def _unreachable(error: sqlite3.Error, path: Path) -> ModelyardError:
    """Return the reason why SQLite could not open or extend one of its files, which it does not say itself."""
    if path.exists() and not path.is_file():
        return damaged(path, "is not a file")
    for each in (path.parent, path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if not is_usable(each):
            return storage_denied(each, DatabaseDenied)
    if shutil.disk_usage(nearest_folder(path)).free < _GROWTH_BYTES:
        return disk_full(path, DatabaseFull)
    if isinstance(room_problem(path, _GROWTH_BYTES), DiskFull):
        return disk_full(path, DatabaseFull, limited=True)
    return DatabaseUnavailable(
        f"The database {path} cannot be read or written: {error}.", hint="Check the disk of MODELYARD_HOME."
    )


def damaged(path: Path, what: str, details: str = "") -> DatabaseDamaged:
    """Return the error for a database file that cannot be read."""
    reason = f": {details.strip().partition(chr(10))[0]}" if details else ""
    return DatabaseDamaged(f"The database {path} {what}{reason}.", path=str(path))


def _was_in_use(home: Path) -> bool:
    """Return whether work was done in this home before: then its database was not empty."""
    folders = (home / name for name in ("workers", "artifacts", "trainings", "datasets"))
    return any(True for folder in folders if folder.is_dir() for _ in os.scandir(folder))


def _revision(connection: sqlite3.Connection) -> str | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _known_revisions() -> Iterator[str]:
    for file in _MIGRATIONS.glob("*.py"):
        if match := _REVISION.search(file.read_text()):
            yield match[1]
