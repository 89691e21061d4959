"""Full disks: before weights are written, and as the libraries that write them tell it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.core import units
from modelyard.core.errors import DiskFull
from modelyard.core.storage import storage_errors

_OS_ERROR = re.compile(r"os error (\d+)")


def require_free(folder: Path, what: str, needed_bytes: int, *, spare_bytes: int) -> None:
    """Raise DiskFull unless `what` fits on the disk of a folder of MODELYARD_HOME and `spare_bytes` remain."""
    free = shutil.disk_usage(folder).free
    if needed_bytes + spare_bytes > free:
        raise DiskFull(
            f"{what} needs {units.size(needed_bytes)} and {units.size(free)} are free on the disk of {folder.parent}.",
            hint="Free space there or move MODELYARD_HOME to a larger disk; it resumes by itself.",
            folder=str(folder.parent),
            needed_bytes=needed_bytes + spare_bytes,
            free_bytes=free,
        )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise DiskFull or StorageDenied where the disk of `folder` takes no more; safetensors tells it in words alone."""
    from safetensors import SafetensorError

    with storage_errors(folder):
        try:
            yield
        except SafetensorError as error:
            number = _OS_ERROR.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), str(error)) from error
