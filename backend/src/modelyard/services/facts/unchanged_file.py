"""What small files of ready models say, kept for as long as the files do not change: it is part of every answer."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")

MOST_KEPT = 20_000

_kept: dict[int, Any] = {}
"""By a hash of what tells a file and its state: the paths of 10,000 models would take several times the memory."""


def read_unchanged(path: str, read: Callable[[Path], Answer]) -> Answer:
    """Return what `read` makes of a file, as it did when the file was last changed; it must not raise.

    The path is a string because it is of 500 models at once, where pathlib would take most of the time. Raises OSError
    where the file cannot be found.
    """
    status = os.stat(path)  # noqa: PTH116
    name = path.rpartition("/")[2]  # files of several names may have one content, and each is read in its own way
    key = hash((read, name, status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size))
    try:
        answer: Answer = _kept[key]
    except KeyError:
        answer = read(Path(path))
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        _kept[key] = answer
    return answer
