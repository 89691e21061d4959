"""Folders that appear whole or not at all, and the checkpoints of a run among them. Needs no torch."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)\Z")


@contextmanager
def appear(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which gets the name `folder` when the context ends without an error."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


class Checkpoints:
    """Of one run: saved after every `interval_seconds`, only the last one kept."""

    def __init__(self, folder: Path, interval_seconds: float) -> None:
        self._folder, self._interval = folder, interval_seconds
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._interval

    def latest(self) -> Path | None:
        """Return the one to go on from."""
        found = self._all()
        return found[-1] if found else None

    @contextmanager
    def saving(self, tokens: int) -> Iterator[Path]:
        """Return where to write the state after so many tokens; older ones go once it is whole."""
        target = self._folder / f"checkpoint-{tokens}"
        with appear(target) as partial:
            yield partial
        for older in self._all():
            if older != target:
                shutil.rmtree(older, ignore_errors=True)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        for checkpoint in self._all():
            shutil.rmtree(checkpoint, ignore_errors=True)

    def _all(self) -> list[Path]:
        found = [path for path in self._folder.glob("checkpoint-*") if _NAME.match(path.name)]
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))
