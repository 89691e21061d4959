"""What small files of ready models say, kept for as long as the files do not change: it is part of every answer."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def read_unchanged(path: str, read: Callable[[Path], Answer]) -> Answer:
    """Return what `read` makes of a file, as it did when the file was last changed; it must not raise.

    The path is a string because it is of 500 models at once, where pathlib would take most of the time. Raises OSError
    where the file cannot be found.
    """
    status = os.stat(path)  # noqa: PTH116
    answer: Answer = _read(path, read, status.st_ctime_ns, status.st_size)
    return answer


@lru_cache(maxsize=20_000)
def _read(path: str, read: Callable[[Path], Any], _changed_ns: int, _size: int) -> Any:
    return read(Path(path))
