"""The journal beside an unfinished file, which lists the ranges that have arrived."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from modelyard.core.errors import Conflict
from modelyard.core.storage import storage_errors
from modelyard.hub.cache.disk import file_status, write_atomically


def read_journal(path: Path) -> dict[str, object]:
    """Read the journal of an unfinished file; empty if there is none, or it cannot be read or makes no sense.

    Raises Conflict if something that is not a file lies in its place.
    """
    status = file_status(path)
    if status is None:
        return {}
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
        raise Conflict(f"{path} is not a file of Modelyard's.", hint="Remove it, then retry.")
    try:
        content = json.loads(path.read_bytes()) if not stat.S_ISLNK(status.st_mode) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_journal(path: Path, content: Mapping[str, object], *, durable: bool) -> None:
    """Replace the journal of an unfinished file, for its owner alone. Raises DiskFull, StorageDenied."""
    temporary = _journal_draft(path)
    # Left by a process that was killed; a link there is removed, not followed.
    with storage_errors(path.parent):
        temporary.unlink(missing_ok=True)
    write_atomically(path, temporary, json.dumps(content).encode(), durable=durable)


def overwrite_journal(path: Path, content: Mapping[str, object]) -> None:
    """Overwrite the journal in place, for a disk without room for a second copy. Raises DiskFull, StorageDenied."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "wb", closefd=True) as output:  # noqa: PTH123 - of a descriptor
            output.write(json.dumps(content).encode())
            output.truncate()


def remove_journal(path: Path) -> None:
    _journal_draft(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _journal_draft(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")
