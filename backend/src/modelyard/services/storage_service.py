"""Work that waits for a disk that is full or may not be used, and resumes by itself once that is mended."""

import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.errors import STORAGE_CODES, DiskFull
from modelyard.core.storage import DISK_RESERVE_BYTES, PROBE_BYTES, is_usable, nearest_folder, room_problem
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Model, ModelStatus, Training, TrainingStatus
from modelyard.services.model_files import bytes_to_fetch, manifest
from modelyard.services.model_service import ModelService
from modelyard.services.training.training_service import TrainingService


@dataclass(frozen=True)
class Waiting:
    """The models and training runs that wait for a disk, the oldest first."""

    models: Sequence[Model]
    trainings: Sequence[Training]


class StorageService:
    """Resumes models and training runs whose error is one of STORAGE_CODES; never commits.

    Between `waiting` and `resume`, which read and write rows, `resumable` looks at disks, outside of a transaction.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.models = ModelService(session)
        self.trainings = TrainingService(session)

    def waiting(self) -> Waiting:
        """Read what waits for a disk."""
        models = self.session.scalars(
            select(Model).where(Model.status == ModelStatus.PAUSED, Model.error.is_not(None)).order_by(Model.created_at)
        )
        trainings = self.session.scalars(
            select(Training)
            .where(Training.status == TrainingStatus.PENDING, Training.error.is_not(None))
            .order_by(Training.created_at)
        )
        return Waiting([row for row in models if _waits(row)], [row for row in trainings if _waits(row)])

    def resume(self, resumable: Set[str]) -> int:
        """Resume those of `resumable` that still wait, the oldest first. Returns how many."""
        if not resumable:
            return 0
        waiting = self.waiting()
        models = [model for model in waiting.models if model.id in resumable]
        trainings = [training for training in waiting.trainings if training.id in resumable]
        for model in models:
            self.models.resume(model.id)
        for training in trainings:
            self.trainings.end_wait(training)
        return len(models) + len(trainings)


def resumable(waiting: Waiting, cache: HubCache) -> frozenset[str]:
    """Return the ids of what the disks allow again; room is given to the oldest first."""
    room = _Room(cache)
    models = [model.id for model in waiting.models if room.allows(model.error or {}, _needed_by(model, cache))]
    trainings = [
        training.id
        for training in waiting.trainings
        if room.allows(training.error or {}, _extra(training).get("needed_bytes", DISK_RESERVE_BYTES))
    ]
    return frozenset((*models, *trainings))


def _waits(row: Model | Training) -> bool:
    return row.error is not None and row.error["code"] in STORAGE_CODES


def _extra(row: Model | Training) -> dict[str, Any]:
    extra: dict[str, Any] = (row.error or {}).get("extra", {})
    return extra


def _needed_by(model: Model, cache: HubCache) -> int:
    """Return the bytes that the row's next attempt writes to the disk it stopped at."""
    folder = Path(_extra(model).get("folder", cache.cache_dir))
    if folder == cache.cache_dir or cache.cache_dir in folder.parents:
        return bytes_to_fetch(cache, model.model_id, model.commit, manifest(model)) + DISK_RESERVE_BYTES
    return int(_extra(model).get("needed_bytes", PROBE_BYTES))


class _Room:
    """What is left of each disk for further work; what was given to one is not given to another."""

    def __init__(self, cache: HubCache) -> None:
        self._cache = cache
        self._free: dict[int, int] = {}
        """Bytes by device."""

    def allows(self, error: dict[str, Any], needed_bytes: int) -> bool:
        """Return whether the error's folder may be used and, if it was full, has `needed_bytes`; sets them aside."""
        folder = Path(error.get("extra", {}).get("folder", self._cache.cache_dir))
        if not is_usable(folder):
            return False
        if error["code"] != DiskFull.code:
            return True
        if room_problem(folder) is not None:
            return False  # a quota, for example, of which free bytes say nothing
        disk = nearest_folder(folder)
        device = disk.stat().st_dev
        free = self._free.setdefault(device, shutil.disk_usage(disk).free)
        if needed_bytes > free:
            return False
        self._free[device] = free - needed_bytes
        return True
