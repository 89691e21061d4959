"""Live events: the rows something happens to are read a few times a second, and what changed is sent to every socket.

The database is the only source, so events survive restarts of workers and of this process, and several API processes
tell the same. Each change is encoded once, however many sockets listen.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, defer

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import DatabaseUnavailable
from modelyard.models import ACTIVE_STATUSES, ACTIVE_TRAINING_STATUSES, Job, LoadedModel, Model, Training
from modelyard.schemas.event import (
    ModelDeletedEvent,
    ModelEvent,
    ModelEventType,
    SnapshotEvent,
    TrainingDeletedEvent,
    TrainingEvent,
)
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.training import TrainingResponse
from modelyard.services.job_service import is_load
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.training_service import TrainingService, training_response

TICK_SECONDS = 0.2
RECENT_SECONDS = 5.0
MAX_WAITING_MESSAGES = 500

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """What was last sent about a row."""

    content: str
    status: str
    loaded: bool
    loading: bool = False

    @property
    def followed(self) -> bool:
        """Until its end is seen, whatever the clocks of its workers say."""
        return self.loaded or self.loading or self.status in ACTIVE_STATUSES


@dataclass(frozen=True)
class _Reading:
    """One look at the database."""

    changed: list[ModelResponse]
    ids: frozenset[str]
    trainings: list[TrainingResponse]
    training_ids: frozenset[str]
    statuses: dict[str, str] = field(default_factory=dict)
    """Of every row, with the first look."""


class Subscription:
    """The messages for one socket. One that does not keep up is closed; its page reconnects and gets a snapshot."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING_MESSAGES)
        self.lagging = False

    async def until(self, closed: Coroutine[Any, Any, None]) -> AsyncIterator[str]:
        """Messages until `closed` ends or the socket has fallen too far behind."""
        end = asyncio.ensure_future(closed)
        following: asyncio.Future[str] | None = None
        try:
            while not end.done() and not self.lagging:
                following = asyncio.ensure_future(self.queue.get())
                done, _ = await asyncio.wait({end, following}, return_when=asyncio.FIRST_COMPLETED)
                if following not in done:
                    return
                yield following.result()
        finally:
            end.cancel()
            if following is not None:
                following.cancel()


class EventHub:
    """Tails the `models` and `jobs` tables for all sockets of this process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.epoch = uuid.uuid4().hex
        self.seq = 0
        self._known: dict[str, _Known] = {}
        self._followed: set[str] = set()
        self._known_trainings: dict[str, tuple[str, str]] = {}
        """What was last sent about a run, and its status."""
        self._training_ids: frozenset[str] = frozenset()
        self._ids: frozenset[str] = frozenset()
        self._last_reading = utc_now()
        self._subscriptions: set[Subscription] = set()
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                if self._subscriptions:
                    async with self._lock:
                        await self._tick()
            except DatabaseUnavailable:
                await asyncio.sleep(1)
            except Exception:
                logger.exception("Live events: reading the database failed, trying again")
                await asyncio.sleep(1)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """A subscription whose first message is the snapshot and whose next ones are everything after it."""
        subscription = Subscription()
        async with self._lock:
            if not self._subscriptions:
                # Nobody listened, so nothing was followed: begin from all there is now, silently.
                self._known.clear()
                self._followed.clear()
                self._known_trainings.clear()
                self._remember(await asyncio.to_thread(self._read, None))
            # What changed since the last tick is in the snapshot already and is told once more with the next.
            subscription.queue.put_nowait(await asyncio.to_thread(self._snapshot))
            self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _tick(self) -> None:
        reading = await asyncio.to_thread(self._read, self._ids)
        for message in self._remember(reading):
            for subscription in self._subscriptions:
                try:
                    subscription.queue.put_nowait(message)
                except asyncio.QueueFull:
                    subscription.lagging = True

    def _read(self, ids: frozenset[str] | None) -> _Reading:
        """The rows that may have changed since the last look, which knew `ids`; None at the first look."""
        since = self._last_reading - timedelta(seconds=RECENT_SECONDS)
        begun = utc_now()
        interesting = or_(
            Model.status.in_(ACTIVE_STATUSES),
            Model.updated_at >= since,
            Model.id.in_(self._followed),
            Model.id.in_(select(LoadedModel.model_row_id)),
            Model.id.in_(select(Job.subject_id).where(is_load())),
        )
        with self.database.reading() as session:
            statuses = {}
            if ids is None:
                statuses = {row.id: row.status.value for row in session.execute(select(Model.id, Model.status))}
            rows = session.scalars(select(Model).options(defer(Model.files)).where(interesting)).all()
            changed = ModelResponses(session).of_all(rows)
            count = session.scalar(select(func.count()).select_from(Model)) or 0
            now = frozenset(statuses) if ids is None else ids
            if new := {row.id for row in rows} - now:
                now |= new
            # Deleted rows show by the count; only then are all ids read.
            if len(now) != count:
                now = frozenset(session.scalars(select(Model.id)))
            trainings = self._read_trainings(session, since)
            training_ids = frozenset(session.scalars(select(Training.id)))
        self._last_reading = begun
        return _Reading(changed, now, trainings, training_ids, statuses)

    def _read_trainings(self, session: Session, since: datetime) -> list[TrainingResponse]:
        """Runs under way, those that changed lately, and those whose end has not been told yet."""
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

    def _snapshot(self) -> str:
        with self.database.reading() as session:
            models = ModelService(session)
            active = models.list(statuses=ACTIVE_STATUSES, limit=10_000)[0]
            event = SnapshotEvent(
                epoch=self.epoch,
                seq=self.seq,
                models=ModelResponses(session).of_all(active),
                counts=models.counts(),
                trainings=[
                    training_response(row)
                    for row in TrainingService(session).list(statuses=ACTIVE_TRAINING_STATUSES, limit=10_000, offset=0)[
                        0
                    ]
                ],
            )
        return event.model_dump_json()

    def _remember(self, reading: _Reading) -> list[str]:
        """Take a reading as the new truth; returns the messages that tell what changed."""
        messages = []
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
            self.seq += 1
            kind = _event_type(before, model)
            messages.append(ModelEvent(type=kind, epoch=self.epoch, seq=self.seq, model=model).model_dump_json())
        for gone in self._gone(reading):
            self._known.pop(gone, None)
            self._followed.discard(gone)
            self.seq += 1
            messages.append(ModelDeletedEvent(epoch=self.epoch, seq=self.seq, id=gone).model_dump_json())
        self._ids = reading.ids
        return [*messages, *self._remember_trainings(reading)]

    def _gone(self, reading: _Reading) -> frozenset[str]:
        if reading.ids is self._ids:
            return frozenset()
        return (self._ids | {model.id for model in reading.changed}) - reading.ids

    def _remember_trainings(self, reading: _Reading) -> list[str]:
        messages = []
        for training in reading.trainings:
            content = training.model_dump_json()
            before, status = self._known_trainings.get(training.id, (None, None))
            if before == content:
                continue
            self._known_trainings[training.id] = (content, training.status)
            self.seq += 1
            event = TrainingEvent(
                type="training.progress" if status == training.status == "running" else "training.updated",
                epoch=self.epoch,
                seq=self.seq,
                training=training,
            )
            messages.append(event.model_dump_json())
        for gone in self._training_ids - reading.training_ids:
            self._known_trainings.pop(gone, None)
            self.seq += 1
            messages.append(TrainingDeletedEvent(epoch=self.epoch, seq=self.seq, id=gone).model_dump_json())
        self._training_ids = reading.training_ids
        return messages


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
