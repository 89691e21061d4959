"""What workers hold in memory, as the database tells it: leased rows, the history of their models, what went wrong.

The rows are renewed every few seconds, so that they are true after any crash.
"""

import socket
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.core.database import Database, database_now, utc_now
from modelyard.models import EventKind, EventName, JobKind, LoadedModel, Model
from modelyard.schemas.model import LastUnload
from modelyard.services.jobs.history_service import HistoryService
from modelyard.services.model_service import ModelService

if TYPE_CHECKING:
    from modelyard.ml.model_loader import LoadedInfo, ModelKey, ModelLoader, Unloaded

LEASE_SECONDS = 10.0

_publishing = threading.Lock()
"""Held from reading what is loaded until it is written, so that no older reading is written over a newer one."""


class LoadedModels:
    """What one worker holds. Each call is a transaction of its own."""

    def __init__(self, database: Database, worker: str) -> None:
        self.database = database
        self.worker = worker

    def publish(self, loader: "ModelLoader") -> None:
        """Write which models the worker's process holds; rows of the API's list change with it."""
        with _publishing, self.database.session() as session:
            held, now = loader.loaded(), database_now(session)
            history, appeared = HistoryService(session), list[tuple[str, "LoadedInfo"]]()
            known = {
                (row.model_row_id, row.device, row.dtype): row
                for row in session.scalars(select(LoadedModel).where(LoadedModel.worker == self.worker))
            }
            for info in held:
                for row_id in _rows_of(session, info.key):
                    row = known.pop((row_id, info.key.device, info.key.dtype), None)
                    if row is None:
                        row = LoadedModel(
                            model_row_id=row_id,
                            worker=self.worker,
                            device=info.key.device,
                            dtype=info.key.dtype,
                            host=socket.gethostname(),
                            measured_bytes=info.measured_bytes,
                            load_seconds=info.load_seconds,
                            lease_expires_at=now,
                        )
                        session.add(row)
                        _touch(session, row_id)
                        appeared.append((row_id, info))
                    row.in_use, row.pinned, row.expires_at = info.in_use, info.pinned, info.expires_at
                    row.last_unload = _last_unload(info)
                    row.lease_expires_at = now + timedelta(seconds=LEASE_SECONDS)
            for row_id, info in appeared:
                seconds, measured = info.load_seconds, info.measured_bytes
                history.note(row_id, EventKind.LOAD, EventName.DONE, seconds=seconds, size_bytes=measured)
            for gone in known.values():
                session.delete(gone)
                _touch(session, gone.model_row_id)

    def note_unload(self, loader: "ModelLoader", unloaded: "Unloaded") -> None:
        """Write down that a model is gone and what came back, whoever wanted it: a user, its time, or another model."""
        self.publish(loader)
        with self.database.session() as session:
            for row_id in _rows_of(session, unloaded.key):
                HistoryService(session).note(
                    row_id,
                    EventKind.UNLOAD,
                    EventName.DONE,
                    size_bytes=unloaded.held_before_bytes - unloaded.mapped_bytes,
                    freed_bytes=unloaded.freed_bytes,
                )

    def forget(self) -> None:
        """Write that the worker holds nothing, whatever it or its dead predecessor had written."""
        with _publishing, self.database.session() as session:
            gone = session.scalars(
                delete(LoadedModel).where(LoadedModel.worker == self.worker).returning(LoadedModel.model_row_id)
            ).all()
            for row_id in gone:
                _touch(session, row_id)
                HistoryService(session).note(row_id, EventKind.UNLOAD, EventName.DONE)

    def note_measured(self, row_id: str, info: "LoadedInfo") -> None:
        """Keep the bytes a model was measured to take in memory."""
        if info.key.dtype != "auto":
            return  # another dtype than the estimate is of
        with self.database.session() as session:
            ModelService(session).get_by_id(row_id).memory_measured_bytes = info.measured_bytes

    def note_failure(self, kind: JobKind, row_id: str, error: dict[str, Any]) -> None:
        """Write why a model could not be loaded or unloaded beside its row, which is as ready as before."""
        with self.database.session() as session:
            row = session.get(Model, row_id)
            if row is not None:
                row.error = error | {"during": kind.value}

    def forget_failure(self, row_id: str) -> None:
        """Remove the error of an earlier request once one has succeeded; a download's error stays."""
        with self.database.session() as session:
            row = session.get(Model, row_id)
            if row is not None and "during" in (row.error or {}):
                row.error = None


def _rows_of(session: Session, key: "ModelKey") -> list[str]:
    return list(
        session.scalars(
            select(Model.id).where(
                Model.model_id == key.model_id, Model.commit == key.commit, Model.quantization == key.quantization
            )
        )
    )


def _last_unload(info: "LoadedInfo") -> dict[str, Any] | None:
    last = info.last_unload
    return None if last is None else {name: getattr(last, name) for name in LastUnload.model_fields}


def _touch(session: Session, row_id: str) -> None:
    """Let the event hub see that the row's answer is another one now."""
    row = session.get(Model, row_id)
    if row is not None:
        row.updated_at = utc_now()
