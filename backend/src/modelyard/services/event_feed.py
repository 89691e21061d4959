"""What has changed, in order: kept for a while, and told to each socket from where it stands.

No socket has a queue of its own. A feed holds the last changes once, each encoded once, and a batch is made once for
all sockets that stand at the same place.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from modelyard.core.shared_text import SharedText
from modelyard.schemas.event import (
    ModelDeletedEvent,
    ModelEventType,
    TrainingDeletedEvent,
    TrainingEventType,
)

KEPT_CHANGES = 2000
"""A socket that is further behind gets a new snapshot."""


@dataclass(slots=True)
class Change:
    """One row's change; `content` is the row as JSON, or the id where it is gone."""

    seq: int
    table: Literal["models", "trainings"]
    type: str
    id: str
    content: str
    gone: bool
    message: SharedText | None = None


class EventFeed:
    """The changes `seq - len + 1 … seq` of one server life."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.seq = 0
        self._changes: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self._batches: dict[int, SharedText] = {}

    def add_model(self, type: ModelEventType, id: str, content: str) -> None:
        self._add("models", type, id, content, gone=False)

    def add_training(self, type: TrainingEventType, id: str, content: str) -> None:
        self._add("trainings", type, id, content, gone=False)

    def delete_model(self, id: str) -> None:
        self._add("models", "model.deleted", id, id, gone=True)

    def delete_training(self, id: str) -> None:
        self._add("trainings", "training.deleted", id, id, gone=True)

    def _add(self, table: Literal["models", "trainings"], type: str, id: str, content: str, *, gone: bool) -> None:
        self.seq += 1
        self._changes.append(Change(self.seq, table, type, id, content, gone))
        self._batches.clear()

    def holds(self, seq: int) -> bool:
        """Return whether everything after `seq` is still here."""
        return self.seq - len(self._changes) <= seq <= self.seq

    def forget(self, positions: Iterable[int]) -> None:
        """Let go of what everybody at these positions has heard."""
        lowest = min(positions, default=self.seq)
        while self._changes and self._changes[0].seq <= lowest:
            self._changes.popleft()

    def message_after(self, seq: int) -> SharedText:
        """Return the next single message."""
        change = self._changes[seq + 1 - self._changes[0].seq]
        if change.message is None:
            change.message = SharedText(self._message(change))
        return change.message

    def _message(self, change: Change) -> str:
        if change.gone:
            event = ModelDeletedEvent if change.table == "models" else TrainingDeletedEvent
            return event(epoch=self.epoch, seq=change.seq, id=change.id).model_dump_json()
        field = "model" if change.table == "models" else "training"
        return f'{{"type":"{change.type}","epoch":"{self.epoch}","seq":{change.seq},"{field}":{change.content}}}'

    def batch_after(self, seq: int) -> SharedText:
        """Return all changes after `seq` in one message, of each row only the newest."""
        if seq not in self._batches:
            self._batches[seq] = SharedText(self._batch(seq))
        return self._batches[seq]

    def _batch(self, seq: int) -> str:
        newest: dict[tuple[str, str], Change] = {}
        for change in self._changes:
            if change.seq > seq:
                newest[change.table, change.id] = change

        def rows(table: str) -> str:
            return ",".join(each.content for each in newest.values() if each.table == table and not each.gone)

        deleted = ",".join(f'"{each.id}"' for each in newest.values() if each.gone)
        return (
            f'{{"type":"batch","epoch":"{self.epoch}","from_seq":{seq + 1},"seq":{self.seq},'
            f'"models":[{rows("models")}],"trainings":[{rows("trainings")}],"deleted":[{deleted}]}}'
        )
