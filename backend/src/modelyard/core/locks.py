"""Files that one process at a time holds, and what identifies a folder and a machine.

A lock is the system's (`flock`): it ends with the process that holds it, however that ends. Some file systems have none
(Lustre without the option `flock`, some FUSE mounts). There a file in the temporary folder of this machine is locked in
its stead, so that processes of one machine exclude each other, but not those of another one.
"""

import errno
import fcntl
import json
import os
import secrets
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from modelyard.core.private_files import open_private

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
_NO_LINKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK})

_POLL_SECONDS = 0.1

_stand_ins: dict[int, tuple[int, Path]] = {}
"""Descriptor of a file that its own system cannot lock → descriptor and path of the one that is locked in its stead."""


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
        unlock(self._file.fileno())
        self._file.close()


def take(path: Path, *, wait_seconds: float = 0.0) -> FileLock:
    """Take the lock on the file at `path`, which is created. Raises Held when another process does not let go of it."""
    file = open_private(path, "a+")
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            lock(file.fileno())
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            file.seek(0)
            text = file.read()
            file.close()
            note = {}
            with suppress(ValueError):
                note = json.loads(text)
            raise Held(note) from None
        return FileLock(file)


def lock(descriptor: int, *, wait: bool = False) -> None:
    """Lock an open file or folder until `unlock`, or until this process ends.

    Raises BlockingIOError when another has it, unless told to wait.
    """
    operation = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _stand_ins[descriptor] = _locked_stand_in(os.fstat(descriptor), operation)


def unlock(descriptor: int) -> None:
    """End the lock on a file that is about to be closed."""
    stand_in, path = _stand_ins.pop(descriptor, (None, None))
    if stand_in is not None and path is not None:
        path.unlink(missing_ok=True)
        os.close(stand_in)


def close(descriptor: int) -> None:
    """End the lock on a file, if there is one, and close it."""
    unlock(descriptor)
    os.close(descriptor)


def publish(draft: Path, path: Path) -> None:
    """Give a draft its name: whole or not at all, and never over another's. The draft is gone afterwards."""
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lock(folder, wait=True)
            if not path.exists():
                draft.rename(path)
        finally:
            close(folder)
    finally:
        draft.unlink(missing_ok=True)


def _locked_stand_in(status: os.stat_result, operation: int) -> tuple[int, Path]:
    """Lock the file that stands for another one on this machine; returns its descriptor and its path."""
    folder = Path(tempfile.gettempdir()) / f"modelyard-locks-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "it belongs to another user", str(folder))
    path = folder / f"{status.st_dev:x}-{status.st_ino:x}"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            # Its last holder may have removed it between our open and our lock.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.lstat()):
                return descriptor, path
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def held(path: Path, *, wait_seconds: float = 0.0) -> Iterator[FileLock]:
    """Hold what `take` takes for the length of a block."""
    lock = take(path, wait_seconds=wait_seconds)
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
        publish(draft, path)


@lru_cache
def machine_id() -> str:
    """Return hex digits that are the same for all processes of one running system, and of no other.

    Containers on one machine share them, and its file locks too. They change when the machine is started anew.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    identity = uuid.UUID(boot.read_text().strip()) if boot.exists() else uuid.UUID(int=uuid.getnode())
    return identity.hex[:8] if boot.exists() else identity.hex[-12:]
