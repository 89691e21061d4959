"""Folders that are full or may not be used: one translation of the system's errors into what a person can act on."""

import errno
import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.core import units
from modelyard.core.errors import DiskFull, StorageDenied

_LIMITED = frozenset({errno.EDQUOT, errno.EFBIG})
"""A quota, or a limit on the size of files: free bytes of the disk say nothing of them."""

DISK_FULL = _LIMITED | {errno.ENOSPC}
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
PROBE_BYTES = 1 << 20
"""What a folder must be able to take before a server starts in it."""

DISK_RESERVE_BYTES = 500_000_000
"""Kept free on a disk, so that a download or a training run never fills it to the last byte."""


def storage_error(error: OSError, path: Path | None = None) -> Exception:
    """Return DiskFull or StorageDenied for `error`, or the error itself if it is about something else.

    `path` is the file or folder that was worked on; without it, the one that the error names.
    """
    # Of two files, the second is the one that is written.
    name = error.filename2 if error.errno in DISK_FULL and error.filename2 is not None else error.filename
    if path is None and isinstance(name, str | bytes):
        path = Path(os.fsdecode(name))
    if error.errno in DISK_FULL:
        return disk_full(path, limited=error.errno in _LIMITED)
    if error.errno in DENIED and path is not None:
        return storage_denied(path)
    return error


@contextmanager
def storage_errors(path: Path | None = None) -> Iterator[None]:
    """Raise DiskFull or StorageDenied where the body meets a disk that is full or may not be used.

    It names `path`; without one, the file that the system's error names.
    """
    try:
        yield
    except OSError as error:
        translated = storage_error(error, path)
        if translated is error:
            raise
        raise translated from error


def disk_full(path: Path | None, kind: type[DiskFull] = DiskFull, *, limited: bool = False) -> DiskFull:
    """Return the error for a disk that took no more bytes; `path` is what was being written, if that is known.

    With `limited` it has room, but not for this process.
    """
    if path is None:
        return kind("A disk of this server is full.")
    folder = nearest_folder(path)
    if limited:
        return kind(
            f"A quota or a limit on the size of files is reached in {folder}.",
            hint="Raise it, or free space; work that was under way keeps what it has and resumes by itself.",
            folder=str(folder),
        )
    free = free_bytes(folder)
    return kind(f"The disk is full: {folder} has {units.size(free)} free.", folder=str(folder), free_bytes=free)


def storage_denied(path: Path, kind: type[StorageDenied] = StorageDenied) -> StorageDenied:
    """Return the error for a file or folder that this process's user may not use."""
    if os.statvfs(nearest_folder(path)).f_flag & os.ST_RDONLY:
        return kind(
            f"{path} is on a file system that is mounted read-only.",
            hint="Mount it writable; the work that waits for it resumes by itself.",
            folder=str(path),
        )
    return kind(f"The server's user {_user()} may not use {path}.", folder=str(path))


def is_usable(path: Path) -> bool:
    """Return whether this process may now read and write `path`, or create it."""
    try:
        exists = path.exists()
    except OSError:
        return False
    if exists:
        return os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0))
    return is_usable(path.parent)


def require_usable(path: Path) -> None:
    """Raise StorageDenied unless this process may read and write `path`, or create it."""
    if not is_usable(path):
        raise storage_denied(path)


def room_problem(path: Path, size_bytes: int = PROBE_BYTES) -> DiskFull | StorageDenied | None:
    """Return what keeps this process from writing `size_bytes` beside `path`, found out by writing them."""
    try:
        require_room(nearest_folder(path), size_bytes)
    except (DiskFull, StorageDenied) as error:
        return error
    return None


def require_room(folder: Path, size_bytes: int = PROBE_BYTES) -> None:
    """Write and remove a file of `size_bytes` in an existing folder. Raises DiskFull, StorageDenied."""
    probe = folder / f".probe-{os.getpid()}"
    with storage_errors(folder):
        try:
            with probe.open("wb") as file:
                file.write(bytes(size_bytes))
        finally:
            probe.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Return how many bytes this process may still write to the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(nearest_folder(folder)).free


def ensure_free(folder: Path, needed_bytes: int, *, reserve_bytes: int = 0, hint: str | None = None) -> None:
    """Raise DiskFull unless `needed_bytes` fit and `reserve_bytes` remain after that."""
    free = free_bytes(folder)
    if free >= needed_bytes + reserve_bytes:
        return
    if needed_bytes:
        reserve = f" and {units.size(reserve_bytes)} must stay free" if reserve_bytes else ""
        message = (
            f"{units.size(needed_bytes)} are needed{reserve}, but the disk of {folder} has {units.size(free)} free."
        )
    else:
        message = (
            f"Only {units.size(free)} are left on the disk of {folder}; "
            f"Modelyard stops at {units.size(reserve_bytes)}, so that others can write."
        )
    raise DiskFull(
        message,
        hint=hint,
        folder=str(folder),
        needed_bytes=needed_bytes,
        free_bytes=free,
        reserve_bytes=reserve_bytes,
    )


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 where there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def remove_folder(folder: Path) -> None:
    """Remove a folder; its name goes first, so that it is never there in part. Raises OSError.

    What is gone already is no error, so it may be done twice at once, and again after it failed.
    """
    doomed = folder.with_name(f"{folder.name}.removed")
    _remove_tree(doomed)
    with suppress(FileNotFoundError):
        folder.rename(doomed)
    _remove_tree(doomed)


def _remove_tree(folder: Path) -> None:
    def unless_gone(_function: object, _path: str, failure: tuple[object, BaseException, object]) -> None:
        if not isinstance(failure[1], FileNotFoundError):
            raise failure[1]

    shutil.rmtree(folder, onerror=unless_gone)


def nearest_folder(path: Path) -> Path:
    """`path` itself or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _user() -> str:
    try:
        return f"{getpass.getuser()} (uid {os.geteuid()})"
    except (KeyError, OSError):
        return f"with uid {os.geteuid()}"
