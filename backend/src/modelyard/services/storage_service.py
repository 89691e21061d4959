"""Work that waits for a disk that is full or may not be used, and resumes by itself once that is mended."""

import shutil
from collections.abc import Set
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.errors import STORAGE_CODES, DiskFull
from modelyard.core.storage import PROBE_BYTES, is_usable, nearest_folder, room_problem
from modelyard.models import Model, ModelStatus, Training, TrainingStatus
from modelyard.services.model_files import manifest
from modelyard.services.model_service import DISK_RESERVE_BYTES, ModelService, bytes_to_fetch
from modelyard.services.training_service import TrainingService


class StorageService:
    """Resumes models and training runs whose error is one of STORAGE_CODES.

    `resumable` looks at disks, so it is called outside of a writing transaction, `resume` within one.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.models = ModelService(session)
        self.trainings = TrainingService(session)
        self._room: dict[int, int] = {}
        """Free bytes left for further work, by device."""

    def resumable(self) -> frozenset[str]:
        """The ids of the models and runs that the disks allow again; room is given to the oldest first."""
        models = [
            model.id for model in self._waiting_models() if self._can_resume(model.error or {}, self._needed_by(model))
        ]
        trainings = [
            training.id
            for training in self._waiting_trainings()
            if self._can_resume(
                training.error or {}, (training.error or {}).get("extra", {}).get("needed_bytes", DISK_RESERVE_BYTES)
            )
        ]
        return frozenset((*models, *trainings))

    def resume(self, resumable: Set[str]) -> int:
        """Resume those of `resumable` that still wait, the oldest first. Returns how many."""
        resumed = 0
        for model in self._waiting_models() if resumable else ():
            if model.id in resumable:
                self.models.resume(model.id)
                resumed += 1
        for training in self._waiting_trainings() if resumable else ():
            if training.id in resumable:
                self.trainings.end_wait(training)
                resumed += 1
        return resumed

    def _waiting_models(self) -> list[Model]:
        rows = self.session.scalars(
            select(Model).where(Model.status == ModelStatus.PAUSED, Model.error.is_not(None)).order_by(Model.created_at)
        )
        return [row for row in rows if row.error and row.error["code"] in STORAGE_CODES]

    def _waiting_trainings(self) -> list[Training]:
        rows = self.session.scalars(
            select(Training)
            .where(Training.status == TrainingStatus.PENDING, Training.error.is_not(None))
            .order_by(Training.created_at)
        )
        return [row for row in rows if row.error and row.error["code"] in STORAGE_CODES]

    def _needed_by(self, model: Model) -> int:
        """Bytes that the row's next attempt writes to the disk it stopped at."""
        extra = (model.error or {}).get("extra", {})
        cache = self.models.cache
        folder = Path(extra.get("folder", cache.cache_dir))
        if folder == cache.cache_dir or cache.cache_dir in folder.parents:
            files = manifest(model)
            return bytes_to_fetch(cache, model.model_id, model.commit, files) + DISK_RESERVE_BYTES
        return int(extra.get("needed_bytes", PROBE_BYTES))

    def _can_resume(self, error: dict[str, Any], needed_bytes: int) -> bool:
        """Whether the error's folder may be used now and, if it was full, takes `needed_bytes`, which are set aside."""
        folder = Path(error.get("extra", {}).get("folder", self.models.cache.cache_dir))
        if not is_usable(folder):
            return False
        if error["code"] != DiskFull.code:
            return True
        if room_problem(folder) is not None:
            return False  # a quota, for example, of which free bytes say nothing
        disk = nearest_folder(folder)
        device = disk.stat().st_dev
        room = self._room.setdefault(device, shutil.disk_usage(disk).free)
        if needed_bytes > room:
            return False
        self._room[device] = room - needed_bytes
        return True
