"""An artifact's folder: what makes it one, its manifest, and the lock of its maker. Needs no torch.

An artifact appears under its name only when it is whole: it is made in `NAME.partial` beside it, which is locked while
its maker lives, and renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core import locks
from modelyard.core.errors import Conflict
from modelyard.core.statuses import CopyQuantizationName

MANIFEST = "modelyard.json"
FORMAT = 1


@dataclass(frozen=True)
class ArtifactRequest:
    """What to quantize and where to. `expected_bytes` is the estimate of the weights, for the first disk check."""

    source: str
    target: str
    quantization: CopyQuantizationName
    model_id: str
    commit: str
    device: str = "cpu"
    dtype: str = "auto"
    allow_pickle: bool = False
    expected_bytes: int | None = None


def read_manifest(artifact: Path) -> dict[str, Any] | None:
    """Return the manifest of an artifact, None if the folder is none."""
    try:
        manifest: dict[str, Any] = json.loads((artifact / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return manifest


def damaged_files(artifact: Path) -> list[str]:
    """Return the manifest's files that are missing or have changed, after reading all of them."""
    manifest = read_manifest(artifact)
    if manifest is None:
        return [MANIFEST]
    return [
        name
        for name, file in manifest["files"].items()
        if not (artifact / name).is_file() or sha256_of(artifact / name) != file["sha256"]
    ]


def partial_of(artifact: Path) -> Path:
    """Return where an artifact is made until it is whole."""
    return artifact.with_name(artifact.name + ".partial")


def remove_leftovers(artifact: Path) -> int:
    """Remove what an ended attempt left of an artifact; returns the bytes freed. Leaves a running one alone."""
    partial = partial_of(artifact)
    if not partial.exists():
        return 0
    try:
        descriptor = _lock(partial)
    except Conflict:
        return 0
    try:
        freed = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        shutil.rmtree(partial)
        return freed
    finally:
        locks.close(descriptor)


@contextmanager
def exclusive(partial: Path) -> Iterator[Path]:
    """Yield the empty folder `partial`, locked until this process ends, so a killed one's leftovers are taken over.

    Removes the folder when the work fails; a folder that has been renamed is no longer there to be removed.
    """
    descriptor = _lock(partial)
    try:
        for leftover in partial.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        locks.close(descriptor)


def _lock(partial: Path) -> int:
    while True:
        partial.mkdir(exist_ok=True)
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            locks.lock(descriptor)
            # Whoever held it before may have renamed or removed the folder in the meantime.
            if partial.exists() and os.path.samestat(os.fstat(descriptor), partial.stat()):
                return descriptor
        except BlockingIOError:
            locks.close(descriptor)
            raise Conflict(
                f"Another process is making {partial.name.removesuffix('.partial')}.", hint="Wait until it is done."
            ) from None
        locks.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the size in bytes and the hash of every file below a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
