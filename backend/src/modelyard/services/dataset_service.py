"""Text files that a user sends to be trained on."""

import hashlib
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.errors import Conflict, DatasetNotFound, DiskFull, InvalidRequest
from modelyard.core.settings import get_settings
from modelyard.models import ACTIVE_TRAINING_STATUSES, Training
from modelyard.schemas.training import DatasetResponse, DatasetUser, StoredDataset
from modelyard.services.model_service import DISK_RESERVE_BYTES
from modelyard.services.training_paths import present_path

CHUNK_BYTES = 1 << 20
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM = 80


class DatasetService:
    """Files in this instance's own folder, named after their content, so that the same file is kept once."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or get_settings().datasets_folder

    def store(self, name: str, content: BinaryIO) -> DatasetResponse:
        """Keep a file and tell what it holds. Raises InvalidRequest (nothing is kept then), DiskFull."""
        from modelyard.ml.sae.text_rows import SUFFIXES, count

        original = Path(name.replace("\\", "/")).name
        suffix = Path(original).suffix.lower()
        if suffix not in SUFFIXES:
            raise InvalidRequest(
                f"{original or 'The file'} is none of the kinds of file that are read.",
                hint=f"Send {', '.join(SUFFIXES)}.",
            )
        stem = _SAFE.sub("-", Path(original).stem).strip("-.")[:_MAX_STEM] or "dataset"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        arriving = self.folder / f".{os.urandom(8).hex()}{suffix}"
        try:
            digest = self._write(arriving, content)
            try:
                found = count(arriving)
            except InvalidRequest as error:
                # It was read under a name nobody knows.
                message = error.message.replace(arriving.name, original)
                raise InvalidRequest(message, hint=error.hint) from error
            target = self.folder / f"{stem}-{digest[:12]}{suffix}"
            arriving.rename(target)
        finally:
            arriving.unlink(missing_ok=True)
        return DatasetResponse(
            path=str(target), rows=found.rows or 0, columns=list(found.columns), size_bytes=target.stat().st_size
        )

    def stored(self, session: Session) -> list[StoredDataset]:
        """Every file, the newest first, with the runs on it."""
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
        """The runs on each path, as it is now."""
        users: dict[str, list[DatasetUser]] = {}
        rows = session.execute(
            select(Training.id, Training.status, Training.config).order_by(Training.created_at.desc())
        )
        for id, status, config in rows:
            users.setdefault(present_path(config["dataset"]["path"]), []).append(
                DatasetUser(id=id, status=status.value)
            )
        return users

    def _write(self, path: Path, content: BinaryIO) -> str:
        hasher = hashlib.sha256()
        with path.open("xb") as file:
            while chunk := content.read(CHUNK_BYTES):
                if shutil.disk_usage(self.folder).free < DISK_RESERVE_BYTES + len(chunk):
                    raise DiskFull(f"There is no room for the file in {self.folder}.", hint="Free space, then retry.")
                hasher.update(chunk)
                file.write(chunk)
        return hasher.hexdigest()
