"""Text files that a user sends to be trained on."""

import hashlib
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.errors import Conflict, DatasetNotFound, InvalidRequest
from modelyard.core.paths import PathRules
from modelyard.core.private_files import open_private
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES, ensure_free, storage_errors
from modelyard.models import ACTIVE_TRAINING_STATUSES, Training
from modelyard.schemas.training import DatasetResponse, DatasetUser, StoredDataset
from modelyard.services.training.paths import present_path

UNFINISHED_SECONDS = 3600.0
"""A file that did not grow for so long is no longer being received."""
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM = 80


class DatasetService:
    """Files in this instance's own folder, named after their content, so that the same file is kept once."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or get_settings().datasets_folder

    def receive(self, name: str, expected_bytes: int = 0) -> "ArrivingDataset":
        """Begin to keep a file of about `expected_bytes`. Raises InvalidRequest for another kind of file, DiskFull."""
        from modelyard.ml.sae.text_rows import SUFFIXES

        original = Path(name.replace("\\", "/")).name
        suffix = Path(original).suffix.lower()
        if suffix not in SUFFIXES:
            raise InvalidRequest(
                f"{original or 'The file'} is none of the kinds of file that are read.",
                hint=f"Send {', '.join(SUFFIXES)}.",
            )
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ensure_free(self.folder, expected_bytes, reserve_bytes=DISK_RESERVE_BYTES)
        return ArrivingDataset(self.folder, original)

    def remove_unfinished(self) -> None:
        """Remove what a killed process had not received in full."""
        for path in self.folder.glob(".*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > UNFINISHED_SECONDS:
                    path.unlink()

    def stored(self, session: Session) -> list[StoredDataset]:
        """Return every file, the newest first, with the runs on it."""
        users = self._users(session)
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name.startswith("."):  # arriving
                continue
            facts = path.stat()
            found.append(
                StoredDataset(
                    name=path.name,
                    path=str(path),
                    size_bytes=facts.st_size,
                    created_at=datetime.fromtimestamp(facts.st_mtime, UTC),
                    used_by=users.get(str(path), []),
                )
            )
        return sorted(found, key=lambda one: (one.created_at, one.name), reverse=True)

    def delete(self, session: Session, name: str) -> int:
        """Remove a file; returns the bytes freed. Raises DatasetNotFound, Conflict while a run needs it."""
        path = self.folder / name
        if Path(name).name != name or name.startswith(".") or not path.is_file():
            raise DatasetNotFound(f"There is no data set {name!r}.")
        active = [one for one in self._users(session).get(str(path), []) if one.status in ACTIVE_TRAINING_STATUSES]
        if active:
            raise Conflict(
                f"The training run {active[0].id[:8]} needs {name}.", hint="Wait for its end, or cancel it first."
            )
        size = path.stat().st_size
        path.unlink()
        return size

    def _users(self, session: Session) -> dict[str, list[DatasetUser]]:
        """Return the runs on each path, as it is now."""
        users: dict[str, list[DatasetUser]] = {}
        rows = session.execute(
            select(Training.id, Training.status, Training.config).order_by(Training.created_at.desc())
        )
        for id, status, config in rows:
            users.setdefault(present_path(config["dataset"]["path"]), []).append(
                DatasetUser(id=id, status=status.value)
            )
        return users


class ArrivingDataset:
    """A file that is being received, under a name that no list shows."""

    def __init__(self, folder: Path, original: str) -> None:
        self._folder = folder
        self._original = original
        self._path = folder / f".{os.urandom(8).hex()}{Path(original).suffix.lower()}"
        self._hash = hashlib.sha256()
        with storage_errors(folder):
            self._file = open_private(self._path, "xb")

    def write(self, content: bytes) -> None:
        """Raises DiskFull."""
        ensure_free(self._folder, len(content), reserve_bytes=DISK_RESERVE_BYTES)
        self._hash.update(content)
        with storage_errors(self._folder):
            self._file.write(content)

    def finish(self) -> DatasetResponse:
        """Publish it, and tell what it holds. Raises InvalidRequest for a file that is not what its name says."""
        from modelyard.ml.sae.text_rows import count

        self._file.close()
        try:
            found = count(self._path, PathRules(own=(self._folder,)))
        except InvalidRequest as error:
            # It was read under a name nobody knows.
            message = error.message.replace(self._path.name, self._original)
            raise InvalidRequest(message, hint=error.hint) from error
        stem = _SAFE.sub("-", Path(self._original).stem).strip("-.")[:_MAX_STEM] or "dataset"
        target = self._folder / f"{stem}-{self._hash.hexdigest()[:12]}{self._path.suffix}"
        self._path.rename(target)
        return DatasetResponse(
            path=str(target), rows=found.rows or 0, columns=list(found.columns), size_bytes=target.stat().st_size
        )

    def discard(self) -> None:
        """Remove it, unless it was published."""
        with suppress(OSError):  # what could not be written is not wanted any more
            self._file.close()
        self._path.unlink(missing_ok=True)
