"""Operations of the cache on files and folders: look, write in one step, link, remove."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants

from modelyard.core.errors import Conflict
from modelyard.core.storage import storage_errors


def has_size(path: Path, size_bytes: int) -> bool:
    """Return whether there is a file of this size, or a link to one."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 where it is missing or not readable."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def file_status(path: Path) -> os.stat_result | None:
    """Return the status of a path itself, of a link too; None where nothing is."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def entries(folder: Path) -> list[Path]:
    """List what a folder holds, sorted; nothing where it is missing, a link or not readable."""
    if folder.is_symlink():
        return []
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def files_below(folder: Path) -> Iterator[Path]:
    """List the files and links below a folder; links to folders are not followed."""
    for path in entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from files_below(path)
        else:
            yield path


def allocated_bytes(status: os.stat_result) -> int:
    """Return the bytes a file really takes: an unfinished one has holes."""
    return min(status.st_size, status.st_blocks * 512)


def make_folder(folder: Path, *, below: Path) -> None:
    """Create a folder and those between it and `below`. Raises Conflict rather than pass through a link."""
    path = below
    for name in folder.relative_to(below).parts:
        path /= name
        with suppress(FileExistsError), storage_errors(path.parent):
            path.mkdir()
        refuse_links(path, below=below)


def refuse_links(folder: Path, *, below: Path) -> None:
    """Raise Conflict where the folder, or one between it and `below`, is a link or a file."""
    for path in [folder, *folder.parents]:
        if path == below:
            return
        status = file_status(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise Conflict(
                f"{path} is not a plain folder, so nothing is written or removed below it.",
                hint="Remove it, or replace it with a real folder (to use another disk, move the whole cache:"
                " HF_HUB_CACHE).",
            )


def write_atomically(path: Path, temporary: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file in one step, through `temporary`. Raises DiskFull, StorageDenied."""
    with storage_errors(path.parent):
        try:
            with temporary.open("xb") as output:
                output.write(content)
                if durable:
                    output.flush()
                    os.fsync(output.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def symlink(path: Path, target: str) -> None:
    """Make a symbolic link. Raises OSError also if the user disabled them in huggingface_hub."""
    if constants.HF_HUB_DISABLE_SYMLINKS:
        raise OSError(errno.ENOTSUP, "HF_HUB_DISABLE_SYMLINKS is set")
    path.symlink_to(target)


def replace_with_link_or_copy(path: Path, target: str, blob: Path) -> None:
    """Link what cannot be linked just so: another file is in the way, or the disk knows no links."""
    temporary = unique_beside(path)
    with storage_errors(path.parent):
        try:
            try:
                symlink(temporary, target)
            except OSError:
                shutil.copyfile(blob, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def unique_beside(path: Path) -> Path:
    """Return an unused path in the folder of `path`."""
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def remove_tree(folder: Path) -> None:
    """Remove a folder if it is there; of a link to one, the link."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder and those below it that hold no file."""
    for path in entries(folder):
        if path.is_dir() and not path.is_symlink():
            remove_empty_folders(path)
    with suppress(OSError):
        folder.rmdir()
