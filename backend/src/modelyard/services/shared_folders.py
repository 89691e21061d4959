"""Tell whether a worker sees the folders of its API: both read a random id that the API puts there."""

import logging
import socket
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from modelyard.core import locks
from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.core.private_files import open_private
from modelyard.core.queues import Queue
from modelyard.core.settings import get_settings
from modelyard.services.settings_service import SettingsService

logger = logging.getLogger(__name__)

HOME_QUEUES = {Queue.COMPUTE, Queue.INFERENCE}
"""Work that reads data sets or writes quantized copies and training runs; downloads need the cache alone."""


class FoldersNotShared(ModelyardError):
    code = "folders_not_shared"


@dataclass(frozen=True)
class _Shared:
    """A folder that the API and its workers must have in common; `marker` holds its id."""

    name: str
    path: Path
    marker: Path
    words: str
    variable: str


def _shared() -> tuple[_Shared, _Shared]:
    cache, home = Path(constants.HF_HUB_CACHE), get_settings().home
    return (
        # huggingface_hub keeps its own helpers in .locks, and reports what it does not know beside it.
        _Shared("cache", cache, cache / ".locks" / "modelyard-id", "Hugging Face cache", "HF_HUB_CACHE"),
        _Shared("home", home, home / "modelyard-id", "data sets and quantized copies", "MODELYARD_HOME"),
    )


def mark_folders(database: Database) -> None:
    """Put an id into each folder of this API, unless it has one, and remember it for workers to compare.

    A folder that cannot be written gets none, and workers do not compare it.
    """
    found = {each.name: {"id": _mark(each), "path": str(each.path)} for each in _shared()}
    with database.session() as session:
        SettingsService(session).remember_folders({"host": socket.gethostname(), **found})


def require_shared_folders(database: Database, queues: Collection[str]) -> bool:
    """Compare the folders of a worker for `queues` with the API's; returns whether the API's are known yet.

    Raises FoldersNotShared, DatabaseUnavailable.
    """
    with database.reading() as session:
        folders = SettingsService(session).folders()
    if folders is None:
        return False
    for each in _shared():
        if each.name == "cache" or HOME_QUEUES & set(queues):
            _require(each, folders[each.name], folders["host"])
    return True


def _require(shared: _Shared, of_api: Mapping[str, Any], host: str) -> None:
    if of_api["id"] is None:
        return
    try:
        found = shared.marker.read_text().strip()
    except (OSError, UnicodeDecodeError):
        found = None
    if found != of_api["id"]:
        raise FoldersNotShared(
            f"The {shared.words} of the API are in {of_api['path']} on {host}, and this worker's {shared.path} on"
            f" {socket.gethostname()} is another folder.",
            hint=f"Share that folder between the machines, and set {shared.variable} to where it is here.",
        )


def _mark(shared: _Shared) -> str | None:
    """Return the id of a folder; a new one where there is none yet."""
    draft = shared.marker.with_name(f".{uuid.uuid4().hex}")
    try:
        if (found := _read(shared.marker)) is not None:
            return found
        shared.marker.parent.mkdir(parents=True, exist_ok=True)
        # Whoever shares the cache reads its id; the home's is for its owner alone, like all that lies there.
        with open_private(draft, "x") if shared.name == "home" else draft.open("x") as file:
            file.write(uuid.uuid4().hex)
        locks.publish(draft, shared.marker)
        return _read(shared.marker)
    except OSError as error:
        logger.warning("%s cannot be marked, so workers do not compare it: %s", shared.path, error)
        return None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _read(marker: Path) -> str | None:
    try:
        return marker.read_text().strip() or None
    except FileNotFoundError:
        return None
