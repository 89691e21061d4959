"""Files in MODELYARD_HOME that only their owner may read, whatever the umask.

The umask itself is left to the user: it also decides about the Hugging Face cache, which people share.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def open_private(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Like `open`; a file that this creates has the mode 0600."""
    return open(path, mode, opener=_private, **options)


def tighten(paths: Iterable[Path]) -> None:
    """Take everybody else's rights away from files and folders, and all that is in these; links are not followed."""
    for path in paths:
        _tighten(path)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                _tighten(Path(folder, name))


def _tighten(path: Path) -> None:
    # Another process may remove it meanwhile, and what belongs to another user is not ours to change.
    with suppress(FileNotFoundError, PermissionError):
        if not path.is_symlink() and (mode := path.stat().st_mode & 0o777) & 0o077:
            path.chmod(mode & 0o700)
