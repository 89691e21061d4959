"""Files that one process at a time holds, and what identifies a folder and a machine.

A lock is the system's (`flock`): it ends with the process that holds it, however that ends.
"""

import fcntl
import json
import os
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from modelyard.core.private_files import open_private


class Held(Exception):
    """Another process has the lock; `note` is what it wrote about itself, empty when that cannot be read."""

    def __init__(self, note: Mapping[str, Any]) -> None:
        super().__init__(str(dict(note)))
        self.note = note


class FileLock:
    """A lock that is held until `close`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, note: Mapping[str, Any]) -> None:
        """Say who holds it, for whoever is refused."""
        self._file.seek(0)
        self._file.truncate()
        json.dump(dict(note), self._file)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def take(path: Path) -> FileLock:
    """Take the lock on the file at `path`, which is created. Raises Held at once when another process has it."""
    file = open_private(path, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        text = file.read()
        file.close()
        note = {}
        with suppress(ValueError):
            note = json.loads(text)
        raise Held(note) from None
    return FileLock(file)


@contextmanager
def held(path: Path) -> Iterator[FileLock]:
    """As `take`, for the length of a block."""
    lock = take(path)
    try:
        yield lock
    finally:
        lock.close()


def folder_id(folder: Path) -> str:
    """Return eight random hex digits that are kept in the folder: the same for everybody who sees the same files."""
    path = folder / "id"
    while True:
        with suppress(FileNotFoundError):
            return path.read_text().strip()
        draft = folder / f"id.{secrets.token_hex(4)}"
        with open_private(draft, "x") as file:
            file.write(f"{secrets.token_hex(4)}\n")
        with suppress(FileExistsError):
            os.link(draft, path)  # whole or not at all, and never over another's
        draft.unlink()


@lru_cache
def machine_id() -> str:
    """Return hex digits that are the same for all processes of one running system, and of no other.

    Containers on one machine share them, and its file locks too. They change when the machine is started anew.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    identity = uuid.UUID(boot.read_text().strip()) if boot.exists() else uuid.UUID(int=uuid.getnode())
    return identity.hex[:8] if boot.exists() else identity.hex[-12:]
