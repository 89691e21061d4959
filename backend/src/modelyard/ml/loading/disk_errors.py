"""Full disks, as the libraries that write weights tell them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.core.storage import storage_errors

_OS_ERROR = re.compile(r"os error (\d+)")


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
