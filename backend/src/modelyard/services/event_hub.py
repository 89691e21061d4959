"""Live events: reads the active rows a few times a second and sends changes to every socket.

The database is the only source, so events survive restarts of workers and of this process, and all API processes send
the same. Each change is encoded once, however many sockets there are. A slow socket gets less: in batches only the
newest state of each row, and a new snapshot after it has missed too much.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, defer

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import DatabaseUnavailable
from modelyard.core.shared_text import SharedText
from modelyard.models import ACTIVE_STATUSES, ACTIVE_TRAINING_STATUSES, Deletion, Job, LoadedModel, Model, Training
from modelyard.schemas.event import ModelEventType, SnapshotEvent
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.training import TrainingResponse
from modelyard.services.deletion_log import DeletionLog
from modelyard.services.event_feed import EventFeed
from modelyard.services.jobs.queries import is_load
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.training.training_service import TrainingService, training_response

TICK_SECONDS = 0.2
MAX_PAUSE_SECONDS = 0.4
"""Between two looks, where each one, and sending what it found, takes long."""
MIN_BATCH_SECONDS = 0.2
RECENT_SECONDS = 5.0
DELETED_SECONDS = 60.0
"""How far before the newest known deletion a look begins: longer than a transaction stays open after it noted one."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """The last state of a row that was sent."""

    content: str
    status: str
    loaded: bool
    loading: bool = False

    @property
    def followed(self) -> bool:
        """Return whether to follow the row: until its end is seen, whatever the clocks of its workers say."""
        return self.loaded or self.loading or self.status in ACTIVE_STATUSES


@dataclass(frozen=True)
class _Reading:
    """The result of one read of the database."""

    changed: list[ModelResponse]
    trainings: list[TrainingResponse]
    deleted: list[Deletion]
    """Those that were not seen before, the oldest first."""
    statuses: dict[str, str] = field(default_factory=dict)
    """Of every row, with the first look."""


class Subscription:
    """One socket's position in the feed. The socket requests the next message after it has sent the previous one."""

    def __init__(self, hub: "EventHub", *, batch: bool) -> None:
        self._hub = hub
        self._batch = batch
        self._next_at = 0.0
        self.seq: int | None = None
        """What was told last; None before the snapshot."""

    async def next(self) -> SharedText:
        """Wait for the next message and return it: a snapshot at first, and after too much was missed."""
        feed = self._hub.feed
        while True:
            if self.seq is None or not feed.holds(self.seq):
                self.seq, snapshot = await self._hub.snapshot()
                return snapshot
            if self.seq == feed.seq:
                await self._hub.changed()
            elif not self._batch:
                message = feed.message_after(self.seq)
                self.seq += 1
                return message
            elif (wait := self._next_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            else:
                self._next_at = time.monotonic() + MIN_BATCH_SECONDS
                batch = feed.batch_after(self.seq)
                self.seq = feed.seq
                return batch


class EventHub:
    """Tails the `models` and `jobs` tables for all sockets of this process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.feed = EventFeed(uuid.uuid4().hex)
        self._known: dict[str, _Known] = {}
        self._followed: set[str] = set()
        self._known_trainings: dict[str, tuple[str, str]] = {}
        """What was last sent about a run, and its status."""
        self._deleted: dict[str, datetime] = {}
        """When the rows were deleted whose deletion was seen, of the last DELETED_SECONDS before the newest."""
        self._last_reading = utc_now()
        self._subscriptions: set[Subscription] = set()
        self._begun = False
        self._news = asyncio.Event()
        self._snapshot: tuple[int, SharedText] | None = None
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Read and send until cancelled. The more there is to send, the longer the pause between two reads."""
        pause = TICK_SECONDS
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            try:
                if self._subscriptions:
                    async with self._lock:
                        await self._tick()
                    await asyncio.sleep(0)  # what this turn of the loop sends is counted
            except DatabaseUnavailable:
                await asyncio.sleep(1)
            except Exception:
                logger.exception("Live events: reading the database failed, trying again")
                await asyncio.sleep(1)
            pause = min(max(TICK_SECONDS, time.monotonic() - begun), MAX_PAUSE_SECONDS)

    @asynccontextmanager
    async def subscribe(self, *, batch: bool = False) -> AsyncIterator[Subscription]:
        """Return a subscription that starts with a snapshot, followed by all later changes."""
        subscription = Subscription(self, batch=batch)
        if not self._subscriptions:
            self._begun = False
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def changed(self) -> None:
        """Wait for the next read that finds a change."""
        await self._news.wait()

    async def snapshot(self) -> tuple[int, SharedText]:
        """Return the rows in progress and the number of the last change; read once until the next change.

        Changes since the last read are already included and are sent again with the next one.
        """
        while True:
            try:
                async with self._lock:
                    if not self._begun:
                        await self._begin()
                    if self._snapshot is None or self._snapshot[0] != self.feed.seq:
                        self._snapshot = (self.feed.seq, SharedText(await asyncio.to_thread(self._read_snapshot)))
                    return self._snapshot
            except DatabaseUnavailable:  # waited for, so that all sockets do not come back again and again
                await asyncio.sleep(1)

    async def _begin(self) -> None:
        """Start from the current state without sending anything, because there was no listener before."""
        self._known.clear()
        self._followed.clear()
        self._known_trainings.clear()
        self._remember(await asyncio.to_thread(self._read, is_first=True))
        self.feed.forget([])
        self._snapshot, self._begun = None, True

    async def _tick(self) -> None:
        if not self._begun:
            return
        reading = await asyncio.to_thread(self._read)
        before = self.feed.seq
        self._remember(reading)
        self.feed.forget(place.seq for place in self._subscriptions if place.seq is not None)
        if self.feed.seq != before:
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _read(self, *, is_first: bool = False) -> _Reading:
        """Return the rows that may have changed, and those that were deleted, since the last look."""
        since = self._last_reading - timedelta(seconds=RECENT_SECONDS)
        interesting = or_(
            Model.status.in_(ACTIVE_STATUSES),
            Model.updated_at >= since,
            Model.id.in_(self._followed),
            Model.id.in_(select(LoadedModel.model_row_id)),
            Model.id.in_(select(Job.subject_id).where(is_load())),
        )
        begun = utc_now()
        with self.database.reading() as session:
            statuses = {}
            if is_first:
                statuses = {row.id: row.status.value for row in session.execute(select(Model.id, Model.status))}
            rows = session.scalars(select(Model).options(defer(Model.files)).where(interesting)).all()
            facts = ModelResponses(session).of_all(rows)
            trainings = self._read_trainings(session, since)
            # Read last: of a row that is read above and deleted meanwhile the deletion is told after its change.
            deleted = self._read_deletions(DeletionLog(session))
        self._last_reading = begun
        return _Reading([each.response() for each in facts], trainings, deleted, statuses)

    def _read_deletions(self, log: DeletionLog) -> list[Deletion]:
        """Return the deletions that are new. A transaction may note one and end after others that began later."""
        newest = max(self._deleted.values(), default=None)
        if newest is not None:
            window = newest - timedelta(seconds=DELETED_SECONDS)
            # Thousands may lie in it, so they are counted, and read again only where one of them is new.
            if log.count(window, newest) != sum(window < at for at in self._deleted.values()):
                newest = window
        return [deletion for deletion in log.after(newest) if deletion.id not in self._deleted]

    def _read_trainings(self, session: Session, since: datetime) -> list[TrainingResponse]:
        """Return active runs, recently changed runs, and runs whose end has not been sent yet."""
        followed = [id for id, (_, status) in self._known_trainings.items() if status in ACTIVE_TRAINING_STATUSES]
        rows = session.scalars(
            select(Training).where(
                or_(
                    Training.status.in_(ACTIVE_TRAINING_STATUSES),
                    Training.updated_at >= since,
                    Training.id.in_(followed),
                )
            )
        )
        return [training_response(row) for row in rows]

    def _read_snapshot(self) -> str:
        with self.database.reading() as session:
            models = ModelService(session)
            facts = ModelResponses(session).of_all(models.list_active())
            counts = models.counts()
            trainings = [training_response(row) for row in TrainingService(session).list_active()]
        event = SnapshotEvent(
            epoch=self.feed.epoch,
            seq=self.feed.seq,
            models=[each.response() for each in facts],
            counts=counts,
            trainings=trainings,
        )
        return event.model_dump_json()

    def _remember(self, reading: _Reading) -> None:
        """Store a reading as the current state and add its changes to the feed."""
        for id, status in reading.statuses.items():
            self._known[id] = _Known("", status, loaded=False)
        for model in reading.changed:
            content = model.model_dump_json()
            before = self._known.get(model.id)
            if before is not None and before.content == content:
                continue
            known = self._known[model.id] = _Known(
                content, model.status, model.loaded, loading=model.status == "ready" and model.progress is not None
            )
            (self._followed.add if known.followed else self._followed.discard)(model.id)
            self.feed.add_model(_event_type(before, model), model.id, content)
        self._remember_trainings(reading.trainings)
        self._remember_deletions(reading.deleted)

    def _remember_trainings(self, trainings: list[TrainingResponse]) -> None:
        for training in trainings:
            content = training.model_dump_json()
            before, status = self._known_trainings.get(training.id, (None, None))
            if before == content:
                continue
            self._known_trainings[training.id] = (content, training.status)
            runs_on = status == training.status == "running"
            self.feed.add_training("training.progress" if runs_on else "training.updated", training.id, content)

    def _remember_deletions(self, deleted: list[Deletion]) -> None:
        """Send every deletion once, also of rows newer than the last read: a page may have read them."""
        for deletion in deleted:
            self._deleted[deletion.id] = deletion.at
            if deletion.table == Training.__tablename__:
                self._known_trainings.pop(deletion.id, None)
                self.feed.delete_training(deletion.id)
            else:
                self._known.pop(deletion.id, None)
                self._followed.discard(deletion.id)
                self.feed.delete_model(deletion.id)
        if deleted:
            window = max(self._deleted.values()) - timedelta(seconds=DELETED_SECONDS)
            self._deleted = {row_id: at for row_id, at in self._deleted.items() if at > window}


def _event_type(before: _Known | None, model: ModelResponse) -> ModelEventType:
    if model.status == "downloading":
        return "model.download.progress"
    if model.status == "quantizing":
        return "model.quantize.progress"
    if before is None or before.status != model.status:
        if model.status == "ready" and (before is None or before.status != "missing"):
            return "model.download.completed"
        if model.status == "failed":
            return "model.download.failed"
    elif before.loaded != model.loaded:
        return "model.loaded" if model.loaded else "model.unloaded"
    return "model.updated"
